"""Every command by which a figure in results/ or the README can be had again runs, at small size.

Commands stand in ```sh blocks of the pages of results/, a line each (a backslash continues one),
and behind backticks in the README's table. What takes long to install is tested where it is named.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from minigpt2.__main__ import run

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "results").glob("**/README.md"))
PASSED_OVER = ("pip ", "pytest ", "git ", "make ")
STEPS = "--training.max-steps 4 --training.eval-interval 2 --logging.sample-interval 4"
PLAN = "--training.attention explicit --training.dtype float32 --training.threads 1"
SHAPE = "--model.n-head 2 --model.n-embd 16 --model.block-size 32"
SMALL = {
    "train": f"{PLAN} {SHAPE} --model.n-layer 1",
    "finetune": PLAN,
    "sweep": f"{PLAN} {SHAPE} --trials 2 --seeds 1",
    "generate": "--max-new-tokens 5",
}
SMALL_SCRIPTS = {
    "compare.py": "1", "data.py": "--small", "hellaswag.py": "2 1", "generation.py": "--small",
    "serving.py": "--small", "looking.py": "--small",
}  # fmt: skip


def blocks(text):
    return "\n".join(re.findall(r"^```sh\n(.*?)^```", text, re.MULTILINE | re.DOTALL))


def lines(text):
    """Return the logical lines of a shell block."""
    return [line for line in text.replace("\\\n", " ").splitlines() if line.strip()]


def readme_commands():
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Results")[2]
    return re.findall(r"`((?:minigpt2|python) [^`]+)`", table.partition("\n## ")[0])


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder with the repository's scripts, and a small text in the place of each real one."""
    for name in ("results", "benchmarks"):
        (tmp_path / name).symlink_to(ROOT / name, target_is_directory=True)
    write_texts(tmp_path)
    row = {"activity_label": "Cats", "ctx_a": "A cat", "ctx_b": "", "ctx": "A cat",
           "endings": [" sat.", " ran.", " ate.", " lay."], "label": 0}  # fmt: skip
    (tmp_path / "hellaswag_val.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIGPT2_DATA_INPUT_FILE", "tuning.txt")
    return tmp_path


def made_again(line, capsys):
    """Run one command at small size."""
    if line.startswith("minigpt2 "):
        arguments = shlex.split(line)[1:]
        standing = arguments[:2] == ["sweep", "--out"]  # goes on with what it was begun with
        small = [] if standing else SMALL.get(arguments[0], "").split()
        if "--training.num-epochs" not in arguments and arguments[0] != "generate":
            small += STEPS.split() if small else []
        arguments += small
        assert run(arguments) == 0, f"{line}: {capsys.readouterr().err}"
        return
    arguments = [sys.executable, *shlex.split(line)[1:]]
    script = next((Path(part).name for part in arguments if part.endswith(".py")), "")
    arguments += SMALL_SCRIPTS.get(script, "").split()
    environment = {**os.environ, "MINIGPT2_TRAINING_THREADS": "1"}
    result = subprocess.run(arguments, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, f"{line}: {result.stderr}"
    if line.startswith("python -c"):  # made the real text, which is too long for what follows
        write_texts(Path())


def write_texts(folder):
    text = "".join(f"ROMEO:\nThe cat sat on mat {n}, and said nothing.\n\n" for n in range(150))
    for name in ("tinyshakespeare.txt", "tuning.txt", "matthew.txt"):
        (folder / name).write_text(text, encoding="utf-8")


@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.parent.name)
def test_every_result_can_be_had_again(page, desk, capsys):
    commands = lines(blocks(page.read_text(encoding="utf-8")))
    assert commands, f"{page} has no command"
    for line in commands:
        if not line.startswith(PASSED_OVER):
            made_again(line, capsys)


@pytest.mark.slow
def test_every_figure_of_the_readme_can_be_had_again(desk, capsys):
    commands = readme_commands()
    assert len(commands) >= 8
    made_again("minigpt2 train --preset shakespeare-bpe --out base", capsys)
    for line in commands:
        made_again(line, capsys)


def test_every_row_of_the_readmes_results_names_its_command():
    table = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Results")[2]
    rows = [line for line in table.partition("\n## ")[0].splitlines() if line.startswith("| ")][2:]
    for row in rows:
        assert re.search(r"`(minigpt2|python|time|make|pytest) ?[^`]*`", row), row


def test_every_result_names_its_machine_and_date():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        assert re.search(r"20\d\d-\d\d-\d\d", text) and "AMD EPYC" in text, page
