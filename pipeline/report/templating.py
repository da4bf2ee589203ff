"""Rendering the templates of this room: texts escaped, styles and scripts from files of their own."""

from pathlib import Path

import jinja2
from markupsafe import Markup

_FOLDER = Path(__file__).parent / "templates"


def render_template(name: str, **values: object) -> str:
    """Return a template as HTML text; every text among the values is escaped."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(name).render(css=asset("report.css"), **values)


def asset(name: str) -> Markup:
    """Return a style or a script of the pages."""
    return Markup((_FOLDER / name).read_text(encoding="utf-8"))
