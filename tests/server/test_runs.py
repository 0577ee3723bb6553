"""Runs as the server tells them: curves, samples, and kept checkpoints as models."""

import json
import shutil
import time
import urllib.error
import urllib.request
from urllib.parse import quote

import pytest
import torch
from tests.conftest import TEXT
from tests.server.browsing import PAYLOADS

from minigpt2 import resolve, train
from minigpt2.checkpoints import RunDirectory, load_checkpoint
from minigpt2.server import runs as runs_module
from minigpt2.server.runs import Runs

FLAGS = {
    "model.n_layer": 1, "model.n_head": 1, "model.n_embd": 11, "model.block_size": 13,
    "training.batch_size": 3, "training.max_steps": 9, "training.eval_interval": 3,
    "training.dtype": "float32", "training.attention": "explicit", "logging.log_interval": 1,
    "logging.sample_interval": 3, "logging.save_interval": 9, "logging.keep_history": 2,
}  # fmt: skip


def train_twins(folder):
    """Train a tiny run `fox` in a folder, with kept checkpoints, and lay a copy beside it."""
    text = folder / "fox.txt"
    text.write_text(TEXT)
    flags = {**FLAGS, "data.input_file": str(text), "logging.model_save_path": str(folder / "fox")}
    list(train(resolve(environment={}, flags=flags).config))
    shutil.copytree(folder / "fox", folder / "other", symlinks=True)
    return folder


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = train_twins(tmp_path_factory.mktemp("runs"))
    (folder / "empty").mkdir()
    return folder


@pytest.fixture(scope="module")
def models(trained):
    return {"fox": load_checkpoint(trained / "fox" / "best")}


@pytest.fixture
def served(trained, models, serving):
    told = Runs({"fox": RunDirectory(trained / "fox")}, load_checkpoint)
    with serving(models, runs=told) as running:
        yield running


def get(served, path):
    with urllib.request.urlopen(served.url + path) as answer:
        return json.load(answer)


def post(served, path, **body):
    with urllib.request.urlopen(served.url + path, json.dumps(body).encode()) as answer:
        return json.load(answer)


def test_all_runs_of_the_folder_are_listed_and_the_served_one_named(served):
    listed = {run["name"]: run for run in get(served, "/api/runs")["runs"]}
    assert listed.keys() == {"fox", "other"}
    fox = listed["fox"]
    assert (fox["model"], listed["other"]["model"]) == ("fox", None)
    assert (fox["step"], fox["steps"], fox["history"]) == (9, 9, [0, 1, 2, 3, 4, 6, 8])
    assert 0 <= fox["updated"] < 600
    (model,) = get(served, "/v1/models")["data"]
    assert model["minigpt2"]["history"] == fox["history"]


def test_curves_and_samples_are_those_of_the_log(served, trained):
    told = get(served, "/api/runs/fox")
    log = [json.loads(line) for line in (trained / "fox/metrics.jsonl").read_text().splitlines()]
    assert told["curves"]["train_loss"]["x"] == [entry["step"] for entry in log]
    assert told["curves"]["train_loss"]["y"] == [entry["train_loss"] for entry in log]
    assert told["curves"]["val_loss"]["y"] == [e["val_loss"] for e in log if "val_loss" in e]
    assert min(told["curves"]["val_loss"]["y"]) == get(served, "/api/runs")["runs"][0]["val_loss"]
    assert [sample["step"] for sample in told["samples"]] == [3, 6, 9]
    assert all(sample["text"] for sample in told["samples"])


def test_a_run_that_trains_is_seen_growing(served, trained):
    run = RunDirectory(trained / "other")
    assert get(served, "/api/runs/other")["curves"]["train_loss"]["x"][-1] == 9
    run.log({"step": 10, "train_loss": 1.25})
    assert get(served, "/api/runs/other")["curves"]["train_loss"]["y"][-1] == 1.25
    with run.metrics_path.open("a") as file:
        file.write('{"step": 11, "train')  # being written
    assert get(served, "/api/runs/other")["curves"]["train_loss"]["x"][-1] == 10


def test_a_run_that_is_not_there_is_404(served):
    for name in ("nothing", "empty", "../fox", "..%2f..", quote("<img src=x>")):
        with pytest.raises(urllib.error.HTTPError) as caught:
            get(served, f"/api/runs/{name}")
        with caught.value as answer:
            assert answer.code == 404


def test_a_kept_checkpoint_is_a_model_like_any_other(served, trained):
    kept, tokenizer = load_checkpoint(trained / "fox/history/step-00000003")
    ids = torch.tensor([tokenizer.encode("the fox")])
    logprobs = kept(ids)[0].log_softmax(-1).detach()
    told = post(
        served, "/v1/completions", model="fox@3", prompt="the fox", echo=True, logprobs=0,
        max_tokens=0,
    )  # fmt: skip
    known = told["choices"][0]["logprobs"]["token_logprobs"][1:]
    assert known == pytest.approx(
        logprobs[:-1].gather(1, ids[0, 1:, None])[:, 0].tolist(), abs=1e-5
    )
    looks = [post(served, "/api/inspect", model=f"fox@{s}", view="next", prompt="the")["logits"]
             for s in (0, 3, 8)]  # fmt: skip
    assert len({look["data"] for look in looks}) == 3


def test_a_step_that_was_not_kept_is_told_those_that_were(served):
    for path in ("/api/inspect", "/v1/completions"):
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(served, path, model="fox@7", view="next", prompt="the")
        with caught.value as answer:
            error = json.load(answer)["error"]
        assert (answer.code, error["code"], error["param"]) == (404, "model_not_found", "model")
        known = "there is: fox; kept steps of that run: 0, 1, 2, 3, 4, 6, 8"
        assert error["message"] == f"there is no model 'fox@7' here; {known}"


def test_only_some_kept_checkpoints_stay_open(served):
    for step in (0, 1, 2, 3, 4, 6, 8, 0):
        told = post(served, "/v1/completions", model=f"fox@{step}", prompt="the", max_tokens=2)
        assert told["model"] == f"fox@{step}"
    assert len(served.server._runs._open) == runs_module._MOST_OPEN
    assert served.idle()


def test_a_broken_checkpoint_is_said_and_nothing_ends(served, trained):
    broken = trained / "fox/history/step-00000099"
    shutil.copytree(trained / "fox/history/step-00000008", broken)
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"?")
    try:
        with pytest.raises(urllib.error.HTTPError) as caught:
            post(served, "/api/inspect", model="fox@99", view="next", prompt="the")
        with caught.value as answer:
            assert answer.code == 400 and "SHA-256" in answer.read().decode()
        time.sleep(0.05)
        assert post(served, "/api/inspect", model="fox@8", view="next", prompt="the")["logits"]
    finally:
        shutil.rmtree(broken)


def test_names_of_runs_may_be_anything_a_folder_may_be_called(tmp_path, trained, models, serving):
    names = [p for p in PAYLOADS if not set(p) & set("/\x00\r\n") and len(p.encode()) < 200]
    for name in ["plain", *names]:
        shutil.copytree(trained / "fox", tmp_path / name, symlinks=True)
    told = Runs({"fox": RunDirectory(tmp_path / "plain")}, load_checkpoint)
    with serving(models, runs=told) as served:
        listed = {run["name"] for run in get(served, "/api/runs")["runs"]}
        assert listed == {"plain", *names}
        for name in names:
            assert get(served, f"/api/runs/{quote(name, safe='')}")["name"] == name
