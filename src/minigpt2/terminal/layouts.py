"""What is told in several lines at once: each such text is a template under layouts/."""

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader

_TEMPLATES = Environment(
    loader=FileSystemLoader(Path(__file__).with_suffix("")), trim_blocks=True, lstrip_blocks=True
)
_TEMPLATES.filters |= {"grouped": "{:,}".format, "repr": repr, "ascii": ascii}


def filled(name: str, **values: Any) -> str:
    """Return the text of one template with the values in it."""
    return _TEMPLATES.get_template(f"{name}.txt").render(values).rstrip("\n")
