"""`minigpt2 sweep` as people call it, and the mistakes they make."""

import json
import signal
import subprocess
import sys
import time

import pytest
import yaml

from minigpt2.__main__ import run

SMALL = (
    "--model.n-layer 1 --model.n-head 2 --model.n-embd 8 --model.block-size 7 "
    "--training.attention explicit --training.dtype float32 --training.max-steps 4 "
    "--training.eval-interval 2 --training.warmup-steps 0 --training.min-learning-rate 0"
).split()


@pytest.fixture
def desk(tmp_path, monkeypatch, text_file):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def records(folder):
    lines = (folder / "trials.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line) for line in lines]


def test_a_question_is_one_command(desk, capsys):
    line = ["sweep", "fox.txt", "--search", "model.n-layer=1,2", "training.learning-rate=1e-3,1e-2",
            "--sampler", "grid", "--seeds", "2", *SMALL, "--out", "s"]  # fmt: skip
    assert run(line) == 0
    shown = capsys.readouterr()
    assert shown.err.count("loss ") == 4 and "trial 4/4" in shown.err
    assert "4 trials of 2 runs each" in shown.err
    assert "as good, for all" in shown.out or "what chance explains" in shown.out
    assert "spread" in shown.out and "minigpt2 train --config s/best.yaml" in shown.out
    assert len(records(desk / "s")) == 4
    table = (desk / "s/results.md").read_text(encoding="utf-8")
    assert table.startswith("| trial | n_layer | learning_rate | loss | spread |")
    best = yaml.safe_load((desk / "s/best.yaml").read_text(encoding="utf-8"))
    assert best["model"]["n_embd"] == 8 and best["training"]["seed"] == 1337
    assert run(["train", "--config", "s/best.yaml", "--out", "r"]) == 0
    lowest = min(records(desk / "s"), key=lambda record: record["loss"])
    assert f"validation loss {lowest['losses']['1337']:.4f}" in capsys.readouterr().out
    assert run(["sweep", "--out", "s"]) == 0  # finished: says so again, and runs nothing
    assert "trial 4/4:" not in capsys.readouterr().err


def test_more_trials_may_be_asked_for_later(desk):
    line = ["sweep", "fox.txt", "--search", "training.learning-rate=log(1e-4,1e-2)",
            "--trials", "1", *SMALL, "--out", "s"]  # fmt: skip
    assert run(line) == 0 and run(["sweep", "--out", "s", "--trials", "2"]) == 0
    assert [record["trial"] for record in records(desk / "s")] == [1, 2]


def test_without_a_place_it_makes_one_of_its_own(desk):
    assert (
        run(["sweep", "fox.txt", "--search", "model.n-layer=1", "--sampler", "grid", *SMALL]) == 0
    )
    (folder,) = (desk / "sweeps").iterdir()
    assert folder.name.startswith("fox-") and len(records(folder)) == 1


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "nothing to search"),
        (["--out", "typo"], 66, "no sweep in typo"),
        (["--search", "model.n-layers=1,2"], 2, "did you mean model.n_layer?"),
        (["--search", "model.n-layer=1,2", "--seeds", "0"], 2, "--seeds must be from 1"),
        (["--search", "model.n-layer=1,2", "--trials", "0"], 2, "--trials must be from 1"),
        (["--search", "model.n-layer=1,2", "--sampler", "best"], 2, "sampler"),
        (["--search", "model.n-layer=1,2", "--training.learning-rate", "x"], 2, "a number"),
        (["--search", "model.dropout=uniform(0,1e-1)", "--sampler", "grid"], 2, "listed values"),
        (["nothing.txt", "--search", "model.n-layer=1,2"], 66, "nothing.txt"),
        (["fox.txt", "--search", "model.n-layer=1,2", "--out", "fox.txt"], 2, "no sweep"),
    ],
)
def test_mistakes_get_a_line_and_a_code(arguments, code, message, desk, capsys):
    (desk / "fox").mkdir()
    assert run(["sweep", *arguments]) == code
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_a_sweep_without_a_complete_trial_has_failed(desk, capsys):
    line = ["sweep", "fox.txt", "--search", "model.n-head=3,5", *SMALL, "--out", "s"]
    assert run(line) == 1
    assert "no trial was completed" in capsys.readouterr().out


def test_the_runs_of_a_sweep_are_reported(desk, capsys):
    line = ["sweep", "fox.txt", "--search", "model.n-layer=1,2", *SMALL, "--out", "s"]
    assert run(line) == 0
    assert run(["report", "s/trials/0001/seed-1337", "s/trials/0002/seed-1337"]) == 0
    assert "No sample is written yet" in (desk / "report/index.html").read_text(encoding="utf-8")
    assert run(["report", "s"]) == 66
    assert "runs in s/trials/*/*" in capsys.readouterr().err


def test_another_question_in_the_same_place_is_refused(desk, capsys):
    line = ["sweep", "fox.txt", "--search", "model.n-layer=1", "--sampler", "grid", *SMALL]
    assert run([*line, "--out", "s"]) == 0
    assert run(["sweep", "--out", "s", "--search", "model.n-layer=2"]) == 2
    assert "begun with another space" in capsys.readouterr().err
    assert run(["sweep", "--out", "s", "--model.dropout", "0.5"]) == 2
    assert "model.dropout (0.0 there, 0.5 here)" in capsys.readouterr().err


def test_an_altered_sweep_is_told(desk, capsys):
    line = ["sweep", "fox.txt", "--search", "model.n-layer=1", "--sampler", "grid", *SMALL]
    assert run([*line, "--out", "s"]) == 0
    text = (desk / "s/sweep.json").read_text(encoding="utf-8")
    (desk / "s/sweep.json").write_text(text.replace("grid", "tpe"), encoding="utf-8")
    assert run(["sweep", "--out", "s"]) == 65
    assert "altered" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGTERM to another process")
def test_a_signal_saves_the_run_and_says_how_to_go_on(desk):
    line = [sys.executable, "-m", "minigpt2", "sweep", "fox.txt", "--search", "model.n-layer=1,2"]
    line += ["--sampler", "grid", *SMALL, "--training.max-steps", "100000", "--out", "s"]
    process = subprocess.Popen(line, stderr=subprocess.PIPE, text=True)
    while not list(desk.glob("s/trials/0001/*/metrics.jsonl")):
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)  # SIGINT is ignored by what a script put in the background
    _, error = process.communicate(timeout=60)
    assert process.returncode == 143 and "go on with: minigpt2 sweep --out s" in error
    assert list(desk.glob("s/trials/0001/seed-1337/latest/model.safetensors"))
