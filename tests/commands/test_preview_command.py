"""`preview` on a stranger's folders: its page, its warnings, and the labels that it does not open."""

from pathlib import Path

import numpy as np
from PIL import Image
from strangers import label, picture, run, source, target

from pipeline.__main__ import main


def preview(*options):
    return main(["preview", "--configfile", "config/mine.yaml", *options])


def test_a_page_and_warnings_before_anything_is_prepared(clone, tmp_path, capsys):
    source(tmp_path)
    target(tmp_path, count=5)
    for number in (0, 1):
        label(tmp_path / f"ids/IMG_{number}.png", (3, 9), (60, 44))
    assert run(tmp_path, "--target-labels", str(tmp_path / "ids"), "--target-ids", "same") == 0
    (tmp_path / "ids/IMG_4.png").write_bytes(b"a label of the target's training images is not opened")
    capsys.readouterr()
    assert preview() == 0
    told = capsys.readouterr().out
    assert "source: mine-source train, 4 images, 4 looked at" in told
    assert "evaluation: mine-target val, 2 images" in told and "warning" not in told
    page = Path("results/preview/mine/index.html").read_text("utf-8")
    assert "<td>75</td>" in page and "<td>50</td>" in page and "labels not opened" in page
    assert page.count('class="over"') == 4 + 2
    assert {path.name for path in Path("results").iterdir()} == {"preview"}


def test_the_own_hood_is_shown(clone, tmp_path, capsys):
    """Names of the files, which `init` reads, say nothing of it; what the labels hold does."""
    draws = np.random.default_rng(0)
    for number in range(16):
        picture(tmp_path / f"sim/rgb/{number}.png", (96, 80), seed=number)
        ids = np.where(draws.random((80, 1)) < 0.5, 3, 5).astype(np.uint8).repeat(96, axis=1)
        ids[70:] = 9
        (tmp_path / "sim/sem").mkdir(exist_ok=True)
        Image.fromarray(ids).save(tmp_path / f"sim/sem/{number}.png")
    target(tmp_path)
    assert run(tmp_path) == 0
    told = capsys.readouterr().out
    assert "12.5% of the picture is class_9 in nearly every source image" in told and "--ignore-hood" in told
    assert Path("results/preview/mine/hood.jpg").is_file() and not Path("config/datasets/masks").exists()
    assert preview() == 0
    assert "12.5% of the picture is `class_9` in nearly every image" in capsys.readouterr().out
    assert "in red, what keeps still" in Path("results/preview/mine/index.html").read_text("utf-8")
    assert run(tmp_path, "--ignore-hood", "--force") == 0
    capsys.readouterr()
    assert preview() == 0
    told = capsys.readouterr().out
    assert "in nearly every image" not in told and "no pixel in any image of: class_9" in told
