"""Trainings that follow each other draw other images and crops; the same training draws the same again."""

import pytest

from pipeline.training.loop import Training


@pytest.fixture
def drawn(shared, monkeypatch):
    """Names and pixels of the source images of a stage's first three steps, without training anew."""

    class SeenError(Exception):
        pass

    def first_steps(stage):
        found = []

        def look(training):
            job = training.job
            found.extend((step["source"].names, step["source"].images) for step in job.loader(0, 3))
            raise SeenError

        monkeypatch.setattr(Training, "run", look)
        folder = shared.artifact(stage).path
        aside = folder.with_name("aside")
        folder.rename(aside)
        try:
            shared.run(stage)
        finally:
            monkeypatch.undo()
            for path in sorted(folder.rglob("*"), reverse=True):
                path.rmdir() if path.is_dir() else path.unlink()
            folder.rmdir()
            aside.rename(folder)
        assert len(found) == 3
        return found

    return first_steps


def differ(one, other):
    return any(a[0] != b[0] or not a[1].equal(b[1]) for a, b in zip(one, other, strict=True))


def test_each_training_of_a_chain_draws_anew(shared, drawn):
    stages = shared.plan().stages
    source = drawn(stages["source"])
    assert differ(source, drawn(stages["inter"]))
    assert not differ(source, drawn(stages["source"]))
