"""`generate` as a person uses it: prompts from anywhere, batches, JSON, probabilities, speed."""

import json
import math
import re
import shutil

import pytest
import torch

from minigpt2 import ByteTokenizer, from_pretrained
from minigpt2.__main__ import run
from minigpt2.generation import prompt_ids
from minigpt2.interop.opening import PRETRAINED


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


SHORT = ["--max-new-tokens", "20"]


def generate(capsys, *arguments, code=0):
    capsys.readouterr()
    assert run(["generate", str(PRETRAINED), *arguments]) == code
    return capsys.readouterr()


def test_without_any_training_the_model_that_comes_along_writes(capsys):
    assert run(["generate", "--prompt", "ROMEO:\n", "--max-new-tokens", "200"]) == 0
    shown = capsys.readouterr()
    assert shown.out.startswith("ROMEO:\n") and len(shown.out.split()) > 50
    assert "the small one that comes along" in shown.err


def test_speed_is_told_on_standard_error(capsys):
    shown = generate(capsys, *SHORT, "--prompt", "a")
    assert "20 tokens, the first after" in shown.err and "tokens/s" in shown.err
    assert "% of the memory's" in shown.err


def test_many_prompts_in_one_batch_are_what_each_is_alone(tmp_path, capsys):
    (tmp_path / "p.txt").write_text("ROMEO:\n\n  \nWhat is\r\nO\n", encoding="utf-8", newline="")
    together = generate(capsys, *SHORT, "--prompts", "p.txt", "--n", "2", "--json").out
    records = [json.loads(line) for line in together.splitlines()]
    assert [(r["prompt"], r["sample"]) for r in records] == [
        (prompt, sample) for prompt in ("ROMEO:", "What is", "O") for sample in (0, 1)
    ]
    for record in records:
        seed = str(1337 + record["sample"])
        alone = generate(capsys, *SHORT, "--prompt", record["prompt"], "--seed", seed)
        assert alone.out == record["prompt"] + record["text"] + "\n"
    (tmp_path / "p.jsonl").write_text('{"prompt": "O\\nsir"}\n{"prompt": ""}\n')
    shown = generate(capsys, *SHORT, "--prompts", "p.jsonl")
    assert shown.out.startswith("--- sample 1 ---\nO\nsir") and "--- sample 2 ---\n" in shown.out
    assert "starts from <|endoftext|>" in shown.err or "starts from a newline" in shown.err


@pytest.mark.parametrize(
    ("content", "part"),
    [("", "holds no prompt"), ('{"prompt": 3}\n', "line 1"), ('{"prompt": "a"}\nx\n', "line 2")],
)
def test_prompt_files_that_hold_none_are_told(tmp_path, capsys, content, part):
    (tmp_path / "p.jsonl").write_text(content)
    assert part in generate(capsys, "--prompts", "p.jsonl", code=65).err


def test_json_has_tokens_with_the_models_log_probabilities(capsys):
    line = ["--prompt", "ROMEO:\n", "--logprobs", "3", "--temperature", "0", "--json", *SHORT]
    record = json.loads(generate(capsys, *line).out)
    assert record["finish_reason"] == "length" and len(record["tokens"]) == 20
    model, tokenizer = from_pretrained(PRETRAINED)
    ids = prompt_ids(tokenizer, "ROMEO:\n")
    for token in record["tokens"]:
        logprobs = model(torch.tensor([ids]))[0, -1].log_softmax(0)
        assert token["logprob"] == pytest.approx(logprobs[token["id"]].item(), abs=1e-4)
        assert token["id"] == token["top"][0]["id"] and len(token["top"]) == 3
        assert tokenizer.decode([token["id"]]) == token["text"]
        ids.append(token["id"])
    assert "".join(token["text"] for token in record["tokens"]) == record["text"]


def test_probabilities_are_shown_without_colours_too(capsys):
    plain = generate(capsys, "--prompt", "ROMEO:\n", *SHORT).out
    shown = generate(capsys, "--prompt", "ROMEO:\n", "--show-probs", *SHORT).out
    shares = [int(share) for share in re.findall(r"\[(\d+)\]", shown)]
    assert len(shares) == 20 and all(0 <= share <= 100 for share in shares)
    assert re.sub(r"\[\d+\]", "", shown) == plain
    generate(capsys, "--show-probs", "--n", "2", code=2)


def test_a_full_window_slides_is_cut_or_refused(capsys):
    long = "What say you, my lord? " * 200
    assert "slid on" in generate(capsys, "--prompt", "O", "--max-new-tokens", "300").err
    shown = generate(capsys, "--prompt", long, *SHORT, "--overflow", "truncate-left")
    assert "tokens were left out" in shown.err and shown.out.startswith(long)
    shown = generate(capsys, "--prompt", long, *SHORT, "--overflow", "error", code=2)
    assert "prompt tokens and 20 new ones exceed the window of 256" in shown.err
    assert generate(capsys, "--prompt", "O", "--max-new-tokens", "0").out == "O\n"
    generate(capsys, "--n-keep", "128", "--max-new-tokens", "300", code=2)


@pytest.mark.parametrize(
    "flags",
    [["--temperature", "nan"], ["--top-p", "nan"], ["--min-p", "-1"], ["--top-k", "0"],
     ["--repetition-penalty", "-1"], ["--banned-ids", "512"], ["--logit-bias", "-1", "3"],
     ["--logit-bias", "3", "inf"], ["--max-new-tokens", "-1"], ["--overflow", "wrap"],
     ["--dtype", "int4"], ["--seed", "-1"], ["--logprobs", "-1"], ["--min-new-tokens", "9999"]],
    ids=" ".join,
)  # fmt: skip
def test_settings_that_mean_nothing_are_one_line_and_2(capsys, flags):
    shown = generate(capsys, *flags, code=2)
    assert shown.out == "" and shown.err.count("minigpt2: ") == 1 and "unexpected" not in shown.err


def test_settings_reach_the_sampler(capsys):
    base = ["--prompt", "ROMEO:\n", "--max-new-tokens", "60"]
    greedy = generate(capsys, *base, "--temperature", "0").out
    assert generate(capsys, *base, "--top-k", "1").out == greedy
    assert generate(capsys, *base, "--top-k", "100000", "--temperature", "0").out == greedy
    assert generate(capsys, *base, "--min-p", "1").out == greedy
    tokenizer = from_pretrained(PRETRAINED)[1]
    [newline] = tokenizer.encode("\n")
    shown = generate(capsys, *base, "--banned-ids", str(newline)).out
    assert shown.rstrip("\n").count("\n") == 1
    biased = generate(capsys, *base, "--logit-bias", str(newline), "50").out
    assert biased == "ROMEO:\n" + "\n" * 60 + "\n"
    never = generate(capsys, *base, "--stop", "--x", "--stop", "never comes").out
    assert never == generate(capsys, *base).out
    for dtype in ("bfloat16", "int8"):
        assert len(generate(capsys, *base, "--dtype", dtype).out) > 60


def test_a_refusal_comes_before_any_text_and_no_file_is_replaced(tmp_path, capsys):
    line = ["--prompt", "O", "--overflow", "error", "--max-new-tokens", "999"]
    assert generate(capsys, *line, code=2).out == ""
    (tmp_path / "novel.txt").write_text("mine")
    shown = generate(capsys, "--prompt", "O", *SHORT, "--out", "novel.txt", code=2)
    assert "exists already" in shown.err and (tmp_path / "novel.txt").read_text() == "mine"


def test_a_model_without_a_tokenizer_is_told(tmp_path, capsys):
    shutil.copytree(PRETRAINED, tmp_path / "m")
    for name in ("tokenizer.json", "manifest.json"):
        (tmp_path / "m" / name).unlink()
    assert run(["generate", "m"]) in (65, 66)
    assert "tokenizer.json" in capsys.readouterr().err


def test_the_model_that_comes_along_is_small_and_has_learnt(capsys):
    assert sum(path.stat().st_size for path in PRETRAINED.iterdir()) <= 2_000_000
    model, _ = from_pretrained(PRETRAINED)
    assert 0.8e6 < sum(parameter.numel() for parameter in model.parameters()) < 1e6
    assert run(["eval", str(PRETRAINED), "--data", "shakespeare", "--split", "val", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["bits_per_byte"] < 2.6


def test_an_infinite_log_probability_is_a_number_in_json():
    from minigpt2.cli.generate import _token

    found = _token(65, -math.inf, ByteTokenizer())
    assert found == {"id": 65, "text": "A", "logprob": -9999.0}
    assert _token(65, -1.5, ByteTokenizer())["logprob"] == -1.5
