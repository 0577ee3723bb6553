"""SIGKILL at random moments, resumed each time: the loss log equals the uninterrupted run's."""

import json
import os
import random
import signal
import subprocess
import sys
import time

import pytest

pytestmark = pytest.mark.skipif(os.name == "nt", reason="SIGKILL is Unix")

# Saves are frequent, so that kills fall into them too; dropout is on.
LINE = ["train", "fox.txt", "--model.n-layer", "2", "--model.n-head", "3", "--model.n-embd", "48",
        "--model.block-size", "32", "--model.dropout", "0.2", "--training.batch-size", "8",
        "--training.eval-interval", "25", "--logging.log-interval", "1",
        "--logging.save-interval", "4", "--logging.sample-interval", "1000"]  # fmt: skip


def losses(folder):
    lines = (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    kinds = ("step", "tokens", "train_loss", "val_loss", "train_eval_loss", "grad_norm")
    return [{k: v for k, v in json.loads(line).items() if k in kinds} for line in lines]


def killed_at_random(folder, steps, kills, seed):
    """Run to the end, killing each try at a random moment of its training, `kills` times."""
    line = [sys.executable, "-m", "minigpt2", *LINE, "--training.max-steps", str(steps)]
    chance, done, log = random.Random(seed), 0, folder / "broken" / "metrics.jsonl"
    while True:
        child = subprocess.Popen(
            [*line, "--out", "broken"], cwd=folder,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        if done == kills:
            _, err = child.communicate(timeout=300)
            assert child.returncode == 0, err.decode()
            return
        before = log.stat().st_mtime_ns if log.exists() else 0
        while not log.exists() or log.stat().st_mtime_ns == before:  # until it trains
            assert child.poll() is None, child.stderr.read().decode()
            time.sleep(0.005)
        time.sleep(chance.uniform(0.0, 1.0))
        assert child.poll() is None, "the run ended before its kills were done"
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stderr.close()
        done += 1


@pytest.mark.parametrize(
    ("steps", "kills"), [(400, 2), pytest.param(2500, 10, marks=pytest.mark.slow)]
)
def test_killed_and_resumed_equals_never_killed(tmp_path, steps, kills):
    (tmp_path / "fox.txt").write_text("the quick brown fox jumps over the lazy dog.\n" * 200)
    line = [sys.executable, "-m", "minigpt2", *LINE, "--training.max-steps", str(steps)]
    subprocess.run([*line, "--out", "whole"], cwd=tmp_path, check=True, capture_output=True)
    killed_at_random(tmp_path, steps, kills, seed=kills)
    assert losses(tmp_path / "broken") == losses(tmp_path / "whole")
    assert len(losses(tmp_path / "whole")) == steps
