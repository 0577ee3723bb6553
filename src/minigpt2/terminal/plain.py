"""What the terminal's faces share: how to call this program again."""

import shutil
import sys
from pathlib import Path


def command() -> str:
    """Return what to type to run this program: its name, or its path where it is not on PATH."""
    script = Path(sys.argv[0])
    if shutil.which("minigpt2") or script.stem != "minigpt2":
        return "minigpt2"
    inside = script.is_relative_to(Path.cwd())
    return str(script.relative_to(Path.cwd()) if inside else script)
