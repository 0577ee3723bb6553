"""`minigpt2 finetune` as its users meet it: two arguments, said aloud, resumed, talked to."""

import io
import json

import pytest

from minigpt2.__main__ import run

SHORT = ["--training.max-steps", "6", "--training.dtype", "float32", "--training.attention",
         "explicit"]  # fmt: skip
SMALL = ["--model.n-layer", "1", "--model.n-head", "3", "--model.n-embd", "21",
         "--model.block-size", "64"]  # fmt: skip
TEXT = "the quick brown fox jumps over the lazy dog. User: Assistant: what is it?\n" * 60


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def base(tmp_path, capsys):
    (tmp_path / "fox.txt").write_text(TEXT, encoding="utf-8")
    assert run(["train", "fox.txt", "--out", "base", *SMALL, *SHORT]) == 0
    capsys.readouterr()
    return "base"


def told(capsys):
    return capsys.readouterr().err


def test_it_says_what_it_starts_from_and_where_it_stood(base, capsys):
    assert run(["finetune", base, "fox.txt", "--out", "tuned", *SHORT]) == 0
    err = told(capsys)
    assert (
        "model: base/step-00000006" in err and "before training" in err and "memory: about" in err
    )
    assert run(["finetune", base, "fox.txt", "--out", "tuned", *SHORT]) == 0
    assert "finished at step 6; nothing to do" in told(capsys)
    assert run(["train", "--out", "tuned", "--training.max-steps", "9"]) == 0
    assert "resuming tuned" in told(capsys)


def test_print_config_shows_the_model_s_own_values(base, capsys):
    assert run(["finetune", base, "fox.txt", "--lora", "--print-config"]) == 0
    out = capsys.readouterr().out
    for line in ("n_embd: 21", "block_size: 64", "lora_rank: 8", "batch_size: 8", "init: base"):
        assert line in out
    assert "# model base" in out and "# preset finetune" in out
    assert run(["train", "fox.txt", "--init", base, "--print-config"]) == 0
    assert "# preset finetune" in capsys.readouterr().out


def test_the_model_may_stand_in_a_configuration_file(base, tmp_path, capsys):
    text = "model: {init: base}\ndata: {input_file: fox.txt}\ntraining: {max_steps: 4}\n"
    (tmp_path / "c.yaml").write_text(text, encoding="utf-8")
    assert run(["train", "--config", "c.yaml", "--out", "tuned", *SHORT]) == 0
    assert "before training" in told(capsys)


@pytest.mark.parametrize(
    ("line", "code", "part"),
    [
        (["finetune"], 2, "minigpt2 finetune MODEL TEXT"),
        (["finetune", "base"], 2, "on what?"),
        (["finetune", "base", "gone.txt"], 66, "no file, folder or data set gone.txt"),
        (["finetune", "gone", "fox.txt"], 66, "no run or model directory gone"),
        (["finetune", "fox.txt", "base"], 2, "fox.txt is a file"),
        (["finetune", "base", "fox.txt", "--model.n-layer", "2"], 2, "keeps its shape"),
        (["finetune", "base", "fox.txt", "--training.freeze", "x"], 2, "no parameter is called"),
        (["train", "fox.txt", "--training.lora-rank", "2"], 2, "needs model.init"),
        (["train", "fox.txt", "--data.special-tokens", "<u>"], 2, "needs model.init"),
    ],
)
def test_mistakes_get_one_line(base, capsys, line, code, part):
    assert run(line) == code
    err = told(capsys)
    lines = [text for text in err.splitlines() if text.startswith("minigpt2:")]
    assert len(lines) == 1 and part in lines[0], err
    assert "Traceback" not in err


def test_a_model_of_conversations_is_asked_as_it_was_trained(base, tmp_path, capsys, monkeypatch):
    messages = [{"role": "user", "content": "what is it?"},
                {"role": "assistant", "content": "the fox"}]  # fmt: skip
    line = json.dumps({"messages": messages * 2}) + "\n"
    (tmp_path / "chat.jsonl").write_text(line * 40, encoding="utf-8")
    special = ["--data.special-tokens", "<|endoftext|>", "--training.learning-rate", "1e-2"]
    steps = ["--training.max-steps", "150", "--training.patience", "none"]
    line = ["finetune", base, "chat.jsonl", "--out", "tuned", *special, *SHORT, *steps]
    assert run(line) == 0
    capsys.readouterr()
    monkeypatch.setattr("sys.stdin", io.StringIO("what is it?\nwhat is it?\nquit\n"))
    assert run(["chat", "tuned", "--temperature", "0"]) == 0
    assert capsys.readouterr().out.splitlines() == ["the fox", "the fox"]


def test_a_foreign_template_is_said_and_not_run(base, tmp_path, capsys, monkeypatch):
    assert run(["export", base, "--out", "m"]) == 0
    (tmp_path / "m/manifest.json").unlink()
    path = tmp_path / "m/tokenizer_config.json"
    tree = json.loads(path.read_text(encoding="utf-8"))
    tree["chat_template"] = "{{ ''.__class__.__mro__[1].__subclasses__() }}"
    path.write_text(json.dumps(tree), encoding="utf-8")
    monkeypatch.setattr("sys.stdin", io.StringIO("the \nquit\n"))
    assert run(["chat", "m", "--max-new-tokens", "5"]) == 0
    result = capsys.readouterr()
    assert "of another kind and not used" in result.err and "class" not in result.out
