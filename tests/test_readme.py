"""Every command and every Python block in README and docs runs, at small sizes, in order."""

import inspect
import io
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minigpt2 import gpt2_tokenizer, save_pretrained
from minigpt2 import model as models
from minigpt2.__main__ import run
from minigpt2.model import GPT2, GPT2Config

ROOT = Path(__file__).parent.parent
QUESTION = {
    "activity_label": "Cats", "ctx_a": "A cat sat.", "ctx_b": "it", "ctx": "A cat sat. it",
    "endings": ["looked.", "said.", "sat.", "ate."], "label": 0,
}  # fmt: skip
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SMALL = {
    "train": "--model.n-layer 1 --model.n-head 2 --model.n-embd 16 --training.max-steps 2 "
    "--training.attention explicit --training.dtype float32",
    "finetune": "--training.max-steps 2 --training.attention explicit --training.dtype float32",
    "generate": "--max-new-tokens 5",
    "chat": "--max-new-tokens 5",
    "sweep": "--model.n-head 2 --model.n-embd 16 --model.block-size 64 --training.max-steps 2 "
    "--training.eval-interval 1 --training.attention explicit --training.dtype float32",
}


def commands(page):
    """Yield the minigpt2 command lines of a page, in its order."""
    text = page.read_text(encoding="utf-8")
    text = re.sub(r"(?s)\n## Results\n.*?\n## ", "\n## ", text)  # test_results.py has those
    for match in re.finditer(r"^(minigpt2 .+)$|`(minigpt2 [^`]+)`", text, re.MULTILINE):
        line = (match[1] or match[2]).strip()
        if "..." not in line:
            yield line


@pytest.fixture
def desk(tmp_path, monkeypatch):
    """A folder as a reader has it: the repository's config/, and a novel."""
    (tmp_path / "config").symlink_to(ROOT / "config", target_is_directory=True)
    (tmp_path / "notes").mkdir()
    for day in range(20):
        note = f"Day {day}: the cat sat on mat number {day * day}. " * 20
        (tmp_path / "notes" / f"{day}.md").write_text(note, encoding="utf-8")
    novel = "The cat sat on the mat. It looked at the moon, and said nothing.\n" * 80
    (tmp_path / "prompts.txt").write_text("The cat\nThe moon\n", encoding="utf-8")
    (tmp_path / "novel.txt").write_text(novel, encoding="utf-8")
    (tmp_path / "lambada_test.jsonl").write_text('{"text": "a cat sat"}\n', encoding="utf-8")
    (tmp_path / "hellaswag_val.jsonl").write_text(json.dumps(QUESTION) + "\n", encoding="utf-8")
    (tmp_path / "wiki.test.raw").write_text(" = Cat = \n \n A cat sat . \n", encoding="utf-8")
    words = ("cat", "mat", "moon", "sat", "said", "looked", "nothing")
    questions = [{"prompt": f"the {a} {b}", "answer": " sat"} for a in words for b in words]
    lines = "".join(json.dumps(question) + "\n" for question in questions)
    (tmp_path / "questions.jsonl").write_text(lines, encoding="utf-8")
    small = GPT2(GPT2Config(50257, 64, 1, 2, 16))  # a path that exists wins over the hub's name
    save_pretrained(small, gpt2_tokenizer(), tmp_path / "gpt2")
    torch.save(nanogpt_checkpoint(sorted(set(novel))), tmp_path / "ckpt.pt")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MINIGPT2_DATA_INPUT_FILE", "novel.txt")
    monkeypatch.setattr("sys.stdin", io.StringIO("quit\n"))
    return tmp_path


def pages_with_commands():
    """The README's commands run at every commit, those of docs/ with the slow tests."""
    for page in PAGES:
        if list(commands(page)):
            marks = () if page.name == "README.md" else pytest.mark.slow
            yield pytest.param(page, id=page.stem, marks=marks)


@pytest.mark.parametrize("page", list(pages_with_commands()))
def test_every_command_runs(page, desk, capsys):
    assert run(["train", "--out", "runs/first", *SMALL["train"].split()]) == 0  # as make train did
    if page.name in ("serve.md", "look-inside.md"):
        shutil.copytree(desk / "runs/first", desk / "runs/novel")
    for line in commands(page):
        arguments = shlex.split(line)[1:]
        if "--print-config" not in arguments:
            arguments += SMALL.get(arguments[0], "").split()
        if any("ROMEO:" in argument for argument in arguments):  # whom the novel does not know
            arguments += ["--unknown", " "]
        capsys.readouterr()
        if arguments[0] == "serve":
            serve_for_a_moment(page, arguments)
            continue
        assert run(arguments) == 0, f"{line}: {capsys.readouterr().err}"
    if page.name == "README.md":
        assert (desk / "runs" / "novel" / "best" / "model.safetensors").is_file()
        python_blocks_run(page)
    if page.name == "generate.md":
        shutil.copytree(desk / "runs/first", desk / "runs/novel")
    if page.name in ("data.md", "generate.md", "look-inside.md"):
        python_blocks_run(page)


def serve_for_a_moment(page, arguments):
    """Start the server as a process; on its own page the Python block asks it."""
    arguments = ["0" if argument.isdigit() else argument for argument in arguments]
    line = [sys.executable, "-m", "minigpt2", *arguments]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as process:
        told = ""
        while "OPENAI_BASE_URL" not in told:
            told = process.stderr.readline()
            assert told, arguments
        base = re.search(r"OPENAI_BASE_URL=(\S+)", told)[1]
        try:
            if page.name == "serve.md":
                python_blocks_run(page, OPENAI_BASE_URL=base, OPENAI_API_KEY="unused")
        finally:
            process.terminate()


def nanogpt_checkpoint(letters):
    """A checkpoint as nanoGPT writes it, for a text of these letters."""
    model = GPT2(GPT2Config(len(letters), 8, 1, 2, 16))
    shape = {"n_layer": 1, "n_head": 2, "n_embd": 16, "block_size": 8, "bias": True}
    state = {f"transformer.{name}": value for name, value in model.state_dict().items()}
    return {"model": state, "model_args": {**shape, "vocab_size": len(letters), "dropout": 0.0}}


def python_blocks_run(page, **environment):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    assert blocks
    program = "\n".join(blocks)  # as they are read, one after the other
    result = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip
    assert result.returncode == 0, result.stderr


def test_make_targets_that_are_named_exist():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    pages = [*PAGES, ROOT / "CONTRIBUTING.md"]
    named = {t for p in pages for t in re.findall(r"\bmake ([a-z-]+)\b`", p.read_text("utf-8"))}
    assert {"train", "test"} <= named
    for target in named:
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_links_lead_somewhere():
    for page in [*PAGES, ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_forward_pass_shown_is_the_code():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"```text\n(past, T = .*?)```", readme, re.DOTALL)[1]
    source = inspect.getsource(models.GPT2.forward)
    body = inspect.cleandoc(source.split('"""')[2])
    check = re.search(r"if past \+ T > .*?\n    raise .*?\n", body)[0]
    assert body.replace(check, "") == shown.rstrip("\n")


@pytest.mark.parametrize(
    "name",
    [pytest.param("own_block", marks=pytest.mark.slow),
     pytest.param("own_tokenizer", marks=pytest.mark.slow), "own_loop", "fine_tuning"],
)  # fmt: skip
def test_every_example_runs(name, desk):
    script = ROOT / "examples" / f"{name}.py"
    arguments = [str(desk / "out"), "2"]
    if name == "fine_tuning":
        line = f"train novel.txt --out start {SMALL['train']}"
        assert run(shlex.split(line)) == 0
        arguments = ["start", "novel.txt", *arguments]
    environment = {"PATH": "", "HOME": str(desk), "MINIGPT2_TRAINING_EVAL_INTERVAL": "2"}
    result = subprocess.run(
        [sys.executable, script, *arguments], capture_output=True, text=True, env=environment
    )
    assert result.returncode == 0, result.stderr
    assert list((desk / "out").rglob("model.safetensors"))
    assert name != "fine_tuning" or list((desk / "out/best").glob("adapter_model.safetensors"))
