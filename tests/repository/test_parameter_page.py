"""docs/parameters.md is generated, and complete."""

from pathlib import Path

from pipeline.config.reference import SECTIONS, reference_page
from pipeline.stages.kinds import KINDS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "parameters.md"


def test_the_page_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == reference_page(), "run `python -m pipeline docs` and commit"


def test_every_key_of_every_file_and_kind_has_a_line_with_a_meaning():
    page = reference_page()
    for model in [model for _, model in SECTIONS] + [kind.parameters for kind in KINDS.values()]:
        for name, field in model.model_fields.items():
            assert f"| `{field.alias or name}` | " in page
    undocumented = [line for line in page.splitlines() if line.startswith("| `") and line.endswith("|  |")]
    assert undocumented == []
