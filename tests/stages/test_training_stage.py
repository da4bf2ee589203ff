"""A training stage as a job: determinism, and the log of two processes."""

import shutil

import torch

from pipeline.artifacts.files import read_json, write_json


def test_a_stage_computes_under_its_own_determinism(chain, monkeypatch):
    source = chain.plan().stages["source"]
    shutil.rmtree(chain.artifact(source).path)
    seen, grad = set(), torch.autograd.grad

    def look(*arguments, **options):
        seen.add((torch.are_deterministic_algorithms_enabled(), torch.get_num_threads()))
        return grad(*arguments, **options)

    torch.use_deterministic_algorithms(False)
    torch.set_num_threads(2)
    monkeypatch.setattr(torch.autograd, "grad", look)
    assert chain.run(source) == 0
    assert seen == {(True, 1)}


def in_two_processes(chain, stage):
    path = chain.stage_file(stage)
    record = read_json(path)
    write_json(path, {**record, "run": {**record["run"], "gpus": 2}})


def test_the_log_of_the_job_tells_of_the_steps_once(chain, capfd):
    source = chain.plan().stages["source"]
    shutil.rmtree(chain.artifact(source).path)
    shutil.rmtree(chain.folder / "logs")
    in_two_processes(chain, source)
    assert chain.run(source) == 0, chain.log(source)
    lines = [line.split(" INFO ")[-1] for line in chain.log(source).splitlines()]
    steps = [line for line in lines if line.startswith("step ")]
    assert [line.split()[1] for line in steps] == ["2/4", "4/4"]
    assert "segmentation" in steps[0] and "s/step" in steps[0]
    assert lines[0] == "start: train" and lines[-1].startswith("finished: ")
    assert "s/step" not in capfd.readouterr().err  # lines of numbers are for the file alone
