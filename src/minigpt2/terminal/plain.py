"""Text for a terminal: control bytes of a model are shown, never obeyed."""

import shutil
import sys
import unicodedata
from pathlib import Path


def command() -> str:
    """Return what to type to run this program: its name, or its path where it is not on PATH."""
    script = Path(sys.argv[0])
    if shutil.which("minigpt2") or script.stem != "minigpt2":
        return "minigpt2"
    inside = script.is_relative_to(Path.cwd())
    return str(script.relative_to(Path.cwd()) if inside else script)


def printable(text: str) -> str:
    """Return `text` with every control character but newline and tab made visible.

    >>> printable("a\\x1b[31mb")
    'a␛[31mb'
    """
    return "".join(_visible(character) for character in text)


def _visible(character: str) -> str:
    code = ord(character)
    if character in "\n\t" or unicodedata.category(character) not in ("Cc", "Cf", "Cs"):
        return character
    # Unicode has pictures of the first 32 controls and of DEL; the rest become U+FFFD.
    return chr(0x2400 + code) if code < 32 else "␡" if code == 127 else "\ufffd"
