"""`minigpt2 eval` as people call it: tasks, samples, and the mistakes they make."""

import json
import math

import pytest
import torch

from minigpt2 import save_pretrained
from minigpt2.__main__ import run
from minigpt2.model import GPT2, GPT2Config
from minigpt2.tokenizers import ByteTokenizer

SMALL = (
    "--model.n-layer 1 --model.n-head 2 --model.n-embd 16 --model.block-size 13 "
    "--training.attention explicit --training.dtype float32 --training.max-steps 3"
).split()
QUESTION = {
    "activity_label": "Cats", "ctx_a": "the cat", "ctx_b": "", "ctx": "the cat",
    "endings": ["sat.", "ran.", "lay.", "ate."], "label": 1,
}  # fmt: skip
WIKI = " = A fox = \n \n The fox , it is said , is quick . \n"


@pytest.fixture
def desk(tmp_path, monkeypatch, text_file):
    """A byte model, a run over characters, and the tasks' files."""
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(2)
    save_pretrained(GPT2(GPT2Config(256, 31, 1, 2, 16)), ByteTokenizer(), "bytes")
    (tmp_path / "lambada.jsonl").write_text('{"text": "the quick fox"}\n' * 3, encoding="utf-8")
    (tmp_path / "hella.jsonl").write_text(json.dumps(QUESTION) + "\n", encoding="utf-8")
    (tmp_path / "wiki.raw").write_text(WIKI, encoding="utf-8")
    return tmp_path


@pytest.fixture
def a_run(desk, text_file):
    assert run(["train", str(text_file), "--out", "r", *SMALL]) == 0
    return desk / "r"


def measured(capsys, *arguments):
    capsys.readouterr()
    assert run(["eval", *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_a_run_is_measured_beside_its_baselines(a_run, capsys):
    found = measured(capsys, "r")
    assert found["task"] == "loss" and found["data"] == str(a_run.parent / "fox.txt")
    assert found["perplexity"] == pytest.approx(math.exp(found["loss"]))
    assert found["word_perplexity"] == pytest.approx(
        math.exp(found["loss"] * found["tokens"] / found["words"])
    )
    assert list(found["baselines"]) == ["uniform", "unigram", "bigram"]
    assert found["baselines"]["uniform"] > found["baselines"]["bigram"]
    assert [place["least"] for place in found["by_position"]] == [1, 2, 4, 8]
    (kept,) = (a_run / "evaluations").iterdir()
    assert kept.name == "loss-fox-val-13-13-step-00000003.json"


def test_another_text_is_held_against_what_was_trained_on(a_run, desk, capsys):
    (desk / "other.txt").write_text("the lazy dog sleeps.\n" * 9, encoding="utf-8")
    own, other = measured(capsys, "r"), measured(capsys, "r", "--data", "other.txt")
    assert other["data"] == "other.txt" and other["baselines"] != own["baselines"]
    whole = measured(capsys, "bytes", "--data", "other.txt", "--split", "all")
    assert "baselines" not in whole  # there is nothing to count but the text itself
    assert "baselines" in measured(capsys, "bytes", "--data", "other.txt")


def test_a_smaller_stride_gives_more_context_and_says_so(a_run, capsys):
    found = measured(capsys, "r", "--stride", "1")
    assert (found["window"], found["stride"]) == (13, 1)
    assert found["tokens"] == measured(capsys, "r")["tokens"]


@pytest.mark.parametrize("task", ["lambada", "hellaswag", "wikitext-2", "wikitext-103"])
def test_every_task_is_measured_and_shown(task, desk, capsys):
    file = {"lambada": "lambada.jsonl", "hellaswag": "hella.jsonl"}.get(task, "wiki.raw")
    found = measured(capsys, "bytes", "--task", task, "--data", file)
    assert found["data"] == file and found["references"]
    if task.startswith("wikitext"):
        assert found["word_perplexity"] > 1 and found["split"] == "test"
    else:
        bounds = found["accuracy"]
        assert 0 <= bounds["low"] <= bounds["value"] <= bounds["high"] <= 1
    assert run(["eval", "bytes", "--task", task, "--data", file]) == 0
    shown = capsys.readouterr().out
    assert "gpt2, " in shown and "protocol" in shown


def test_a_task_is_read_in_the_window_the_run_was_trained_with(desk, text_file, capsys):
    line = ["train", str(text_file), "--out", "short", *SMALL, "--training.sequence-length", "9"]
    assert run(line) == 0
    found = measured(capsys, "short", "--task", "lambada", "--data", "lambada.jsonl")
    assert found["window"] == 9 and found["cut"] == 3


def test_the_style_of_hellaswag_is_said(desk, capsys):
    options = ("bytes", "--task", "hellaswag", "--data", "hella.jsonl")
    assert measured(capsys, *options)["style"] == "harness"
    assert run(["eval", *options, "--style", "completion"]) == 0
    assert "completion style" in " ".join(capsys.readouterr().out.split())


def test_samples_are_held_against_the_training_text(a_run, capsys):
    found = measured(capsys, "r", "--samples", "2")["writing"]
    assert found["samples"] == 2 and 0 < found["distinct_1"] <= 1
    assert found["copied"]["longest"] == len(found["copied"]["text"]) > 0
    assert found["held_out"]["median"] > 50  # the fox says the same all the time
    assert run(["eval", "r", "--samples", "2"]) == 0
    assert "longest copied from training" in capsys.readouterr().out


def test_samples_of_a_model_without_a_run_have_nothing_to_be_copied_from(desk, capsys):
    found = measured(capsys, "bytes", "--data", "wiki.raw", "--split", "all", "--samples", "1")
    assert found["writing"]["copied"] is None


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["bytes", "--task", "lambda"], 2, "lambada"),
        (["bytes", "--task", "lambada", "--data", "none.jsonl"], 66, "no file none.jsonl"),
        (["bytes", "--task", "lambada", "--data", "hella.jsonl"], 65, "line 1: no text in a field"),
        (["bytes", "--task", "hellaswag", "--data", "wiki.raw"], 65, "needs .jsonl or .parquet"),
        (["bytes", "--task", "hellaswag", "--data", "hella.jsonl", "--limit", "0"], 2, "--limit"),
        (["bytes", "--samples", "-1"], 2, "--samples"),
        (["bytes", "--task", "lambada", "--window", "3"], 2, "--window means nothing to --task"),
        (["bytes", "--task", "hellaswag", "--split", "val"], 2, "--split means nothing"),
        (["bytes", "--task", "lambada", "--style", "completion"], 2, "--style means nothing"),
        (["bytes", "--limit", "3"], 2, "--limit means nothing to --task loss"),
        (["bytes", "--data", "wiki.raw", "--split", "all", "--window", "32"], 2, "block_size 31"),
        (["bytes", "--data", "wiki.raw", "--split", "all", "--stride", "32"], 2, "stride must"),
        (["bytes"], 66, "--data"),
        (["bytes", "--data", "empty.txt"], 65, "empty"),
    ],
)
def test_mistakes_get_a_line_and_a_code(arguments, code, message, desk, capsys):
    (desk / "empty.txt").write_text("", encoding="utf-8")
    assert run(["eval", *arguments]) == code
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_a_model_that_computes_no_numbers_is_told(desk, capsys):
    model = GPT2(GPT2Config(256, 31, 1, 2, 16))
    model.h[0].mlp.c_fc.weight.data *= 1e38  # finite, but nothing computed from it is
    save_pretrained(model, ByteTokenizer(), "broken")
    for task in (["--data", "wiki.raw", "--split", "all"],
                 ["--task", "lambada", "--data", "lambada.jsonl"]):  # fmt: skip
        assert run(["eval", "broken", *task]) == 1
        assert "damaged, or diverged" in capsys.readouterr().err
