"""The configuration files that the documentation shows whole: YAML blocks that open with `# config/...yaml`."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"^```yaml\n(# (config/\S+\.yaml)\n.*?)^```$", re.MULTILINE | re.DOTALL)


def documented() -> dict[str, str]:
    """Text of each documented file by its path, `config/datasets/drive.yaml` for one."""
    # What `extending.md` shows is there only with the code that it shows.
    pages = [path for path in (ROOT / "docs").rglob("*.md") if path.name != "extending.md"]
    found = [match for page in sorted(pages) for match in BLOCK.finditer(page.read_text("utf-8"))]
    assert len({match[2] for match in found}) == len(found), "two documented files have one name"
    return {match[2]: match[1] for match in found}
