"""The Python that the documents show runs as it stands, on a model and a picture at the places that it names."""

import re
import shutil

import numpy as np
import pytest
from documented import PAGES, ROOT
from strangers import picture

BLOCK = re.compile(r"^```python\n(?!# pipeline/)(.*?)^```$", re.MULTILINE | re.DOTALL)
SHOWN = {
    page.relative_to(ROOT).as_posix(): block
    for page in PAGES
    if page.name != "extending.md"
    for block in BLOCK.findall(page.read_text("utf-8"))
}


def test_there_is_some():
    assert {"README.md", "docs/own-data.md"} <= set(SHOWN)


@pytest.mark.parametrize("page", SHOWN)
def test_it_runs_and_gives_what_it_says(page, small_model, tmp_path, monkeypatch):
    for model in re.findall(r'load_model\("([^"]+)"\)', SHOWN[page]):
        shutil.copytree(small_model, tmp_path / model)
    picture(tmp_path / "photo.jpg", (60, 44))
    monkeypatch.chdir(tmp_path)
    made: dict[str, np.ndarray] = {}
    exec(compile(SHOWN[page], page, "exec"), made)
    assert made["ids"].shape == (44, 60) and made["ids"].dtype == np.uint8
