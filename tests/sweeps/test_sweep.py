"""A sweep is a value: killed and resumed it is the sweep it would have been."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from minigpt2 import resolve
from minigpt2.errors import ConfigError, DataError, StorageError, UnavailableError, UsageError
from minigpt2.sweeps import search as searching
from minigpt2.sweeps.outcome import equals_of_the_best, ranked, results_table
from minigpt2.sweeps.search import (
    Search,
    SweepEnded,
    TrialBegun,
    TrialEnded,
    read_records,
    sweep,
)
from minigpt2.training import Evaluated, Step, train

FLAGS = {
    "model.n_layer": "1", "model.n_head": "2", "model.n_embd": "8", "model.block_size": "7",
    "training.max_steps": "10", "training.eval_interval": "1", "training.batch_size": "3",
    "training.dtype": "float32", "training.attention": "explicit", "training.warmup_steps": "0",
    "training.min_learning_rate": "0", "logging.sample_interval": "none",
}  # fmt: skip
RATES = "training.learning-rate=log(1e-4,1e-1)"


@pytest.fixture
def config(text_file):
    return resolve(flags={**FLAGS, "data.input_file": str(text_file)}, environment={}).config


def swept(config, search, out):
    """Run a sweep to its end and return its last event."""
    return list(sweep(config, search, out))[-1]


def stop_after(steps):
    """Return what a sweep asks after every step: it is to stop after so many."""
    left = iter(range(steps))
    return lambda: next(left, None) is None


def without_seconds(records):
    return [{**record, "seconds": None} for record in records]


def test_a_grid_runs_every_cell_with_every_seed(config, tmp_path):
    search = Search(("model.n-layer=1,2", "training.batch-size=2,3"), "grid", seeds=(5, 6))
    end = swept(config, search, tmp_path / "s")
    assert [tuple(record["values"].values()) for record in end.records] == [
        (1, 2), (1, 3), (2, 2), (2, 3)
    ]  # fmt: skip
    for record in end.records:
        assert record["state"] == "complete" and list(record["losses"]) == ["5", "6"]
        assert record["loss"] == pytest.approx(sum(record["losses"].values()) / 2)
    assert end.best == ranked(end.records)[0] == min(end.records, key=lambda r: r["loss"])


def test_a_trial_is_the_run_that_train_would_make(config, tmp_path):
    end = swept(
        config, Search(("training.learning-rate=1e-2",), "grid", seeds=(5,)), tmp_path / "s"
    )
    flags = {**FLAGS, "data.input_file": config.data.input_file, "training.seed": "5",
             "training.learning_rate": "1e-2",
             "logging.model_save_path": str(tmp_path / "r")}  # fmt: skip
    events = train(resolve(flags=flags, environment={}).config)
    losses = [event.val_loss for event in events if isinstance(event, Evaluated)]
    assert end.records[0]["losses"] == {"5": min(losses)}
    assert [loss for _, loss in end.records[0]["curves"]["5"]] == losses


def test_the_best_configuration_is_a_file_that_train_takes_to_the_same_loss(config, tmp_path):
    end = swept(config, Search((RATES,), "random", trials=3), tmp_path / "s")
    stored = yaml.safe_load((tmp_path / "s/best.yaml").read_text(encoding="utf-8"))
    assert stored["data"]["input_file"] == config.data.input_file
    flags = {"logging.model_save_path": str(tmp_path / "again")}
    again = resolve(config_path=tmp_path / "s/best.yaml", flags=flags, environment={}).config
    losses = [event.val_loss for event in train(again) if isinstance(event, Evaluated)]
    assert min(losses) == end.best["loss"]
    assert (tmp_path / "s/sweep.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "search",
    [
        pytest.param(
            Search((RATES, "model.n-layer=1,2"), "tpe", trials=14, prune=True, seeds=(5, 6)),
            marks=pytest.mark.slow,
        ),
        pytest.param(Search((RATES,), "random", trials=4), marks=pytest.mark.slow),
        Search(("model.n-layer=1,2", "model.n-head=1,4"), "grid", prune=True),
    ],
    ids=["tpe", "random", "grid"],
)
def test_a_sweep_broken_off_anywhere_is_resumed_to_the_same_trials(config, tmp_path, search):
    whole = swept(config, search, tmp_path / "whole")
    pieces, broken = 0, None
    while broken is None or broken.interrupted:
        pieces += 1
        broken = list(sweep(config, search, tmp_path / "broken", stop_after(4 + 3 * pieces)))[-1]
    assert pieces > 1
    assert without_seconds(broken.records) == without_seconds(whole.records)
    if search.prune:
        assert {record["state"] for record in whole.records} == {"complete", "pruned"}


@pytest.mark.parametrize("place", [9, 11])
def test_a_trial_killed_around_its_end_is_recorded_as_if_it_had_not_been(config, tmp_path, place):
    """Between the run's last checkpoint and the record the run is finished, the trial is not."""
    search = Search((RATES,), "tpe", trials=3, prune=True)
    whole = swept(config, search, tmp_path / "whole")
    running = sweep(config, search, tmp_path / "killed")
    seen = 0
    for event in running:
        seen += isinstance(event, Step)
        if seen == place:
            break
    running.close()
    again = swept(config, search, tmp_path / "killed")
    assert without_seconds(again.records) == without_seconds(whole.records)


def test_a_torn_last_record_is_measured_again(config, tmp_path):
    search = Search((RATES,), "random", trials=2)
    whole = swept(config, search, tmp_path / "s").records
    path = tmp_path / "s/trials.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    assert without_seconds(swept(config, search, tmp_path / "s").records) == without_seconds(whole)


def test_pruning_follows_successive_halving(config, tmp_path):
    """At a rung goes on who is in the best third of those that came to it, or the best so far."""
    end = swept(config, Search((RATES,), "random", trials=9, prune=True), tmp_path / "s")
    rungs = {}
    for record in end.records:
        survived = True
        for step, loss in next(iter(record["curves"].values())):
            rung = {1: 0, 3: 1, 9: 2}.get(step)  # 10 %, 30 % and 90 % of ten steps
            if rung is not None:
                there = sorted([*rungs.setdefault(rung, []), loss])
                rungs[rung].append(loss)
                survived = loss <= there[max(0, len(there) // 3 - 1)]
        assert record["state"] == ("complete" if survived else "pruned")
    assert {record["state"] for record in end.records} == {"complete", "pruned"}


def test_a_diverging_trial_is_recorded_and_the_sweep_goes_on(config, tmp_path):
    flags = {"training.grad_clip": "0", "training.optimizer": "adam"}
    wild = resolve(flags={**FLAGS, **flags, "data.input_file": config.data.input_file},
                   environment={}).config  # fmt: skip
    search = Search(("training.learning-rate=1e30,1e-3",), "grid")
    end = swept(wild, search, tmp_path / "s")
    assert [record["state"] for record in end.records] == ["failed", "complete"]
    assert "not taken" in end.records[0]["reason"] or "loss is" in end.records[0]["reason"]
    keys = [dimension.key for dimension in search.dimensions()]
    assert results_table(keys, end.records)[2][-1].startswith("failed: step")


def test_a_trial_beyond_the_memory_is_recorded_before_it_takes_any(config, tmp_path, monkeypatch):
    monkeypatch.setattr("minigpt2.training.memory.available_memory", lambda device: 3_000_000)
    end = swept(config, Search(("model.n-embd=8,512",), "grid"), tmp_path / "s")
    assert [record["state"] for record in end.records] == ["complete", "failed"]
    assert "out of memory" in end.records[1]["reason"]


def test_memory_that_runs_out_on_the_way_is_recorded(config, tmp_path, monkeypatch):
    def out_of_memory(*args, **kwargs):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried 1 byte")

    monkeypatch.setattr(searching, "train", out_of_memory)
    end = swept(config, Search(("model.n-layer=1,2",), "grid"), tmp_path / "s")
    assert [record["state"] for record in end.records] == ["failed", "failed"]
    assert end.best is None and not (tmp_path / "s/best.yaml").exists()


def test_values_that_do_not_go_together_are_recorded(config, tmp_path):
    end = swept(config, Search(("model.n-head=2,3",), "grid"), tmp_path / "s")
    assert "must be a multiple of model.n_head 3" in end.records[1]["reason"]


def test_a_fault_of_the_disk_ends_the_sweep_and_one_of_ours_is_not_hidden(
    config, tmp_path, monkeypatch
):
    for fault in (StorageError("the disk is full"), RuntimeError("a fault of ours")):

        def failing(*args, fault=fault, **kwargs):
            raise fault

        monkeypatch.setattr(searching, "train", failing)
        with pytest.raises(type(fault), match=str(fault)):
            swept(config, Search(("model.n-layer=1,2",), "grid"), tmp_path / "s")


def test_another_space_or_configuration_is_no_resumption(config, tmp_path):
    search = Search((RATES,), "random", trials=1)
    swept(config, search, tmp_path / "s")
    for other in (Search(("model.n-layer=1,2",), "random"), Search((RATES,), "tpe")):
        with pytest.raises(ConfigError, match="begun with another"):
            swept(config, other, tmp_path / "s")
    changed = resolve(flags={**FLAGS, "model.dropout": "0.5"}, environment={}).config
    with pytest.raises(ConfigError, match=r"model\.dropout \(0\.0 there, 0\.5 here\)"):
        swept(changed, search, tmp_path / "s")
    more = swept(config, Search((RATES,), "random", trials=3), tmp_path / "s")
    assert len(more.records) == 3  # more trials may be asked for


def test_a_folder_that_is_no_sweep_is_left_alone(config, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine", encoding="utf-8")
    with pytest.raises(UsageError, match="no sweep"):
        swept(config, Search((RATES,)), tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_lists_alone_are_a_grid_and_no_run_is_made_twice(config, tmp_path):
    end = swept(config, Search(("model.n-layer=1,2",)), tmp_path / "s")
    assert [record["values"]["model.n_layer"] for record in end.records] == [1, 2]
    assert not Search((RATES,)).is_grid() and Search((RATES,)).count() == 20


def test_a_sweep_may_be_resumed_from_elsewhere_but_not_moved(config, tmp_path, monkeypatch):
    search = Search((RATES,), "random", trials=2)
    whole = swept(config, search, tmp_path / "whole")
    list(sweep(config, search, tmp_path / "s", stop_after(4)))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "s").rename(tmp_path / "moved")
    with pytest.raises(ConfigError, match=r"begun with another data\.input_file"):
        swept(config, search, tmp_path / "moved")
    assert read_records(tmp_path / "moved") == []
    (tmp_path / "moved").rename(tmp_path / "s")
    assert without_seconds(swept(config, search, Path("s")).records) == without_seconds(
        whole.records
    )


def test_chance_is_what_the_seeds_say_it_is():
    def record(trial, *losses):
        named = {str(seed): loss for seed, loss in enumerate(losses)}
        return {"trial": trial, "state": "complete", "loss": sum(losses) / 2, "losses": named}

    records = [record(1, 1.0, 1.2), record(2, 1.1, 1.3), record(3, 3.0, 3.2)]
    equals, reach = equals_of_the_best(records)
    # Each trial's variance is 0.02; a difference of two means over two seeds has 2 * 0.02 / 2.
    assert reach == pytest.approx(2 * 0.02**0.5)
    assert [record["trial"] for record in equals] == [2]
    assert equals_of_the_best([{**records[0], "losses": {"1": 1.0}}]) is None


def test_an_altered_record_is_told(config, tmp_path):
    search = Search((RATES,), "random", trials=2)
    swept(config, search, tmp_path / "s")
    path = tmp_path / "s/trials.jsonl"
    lines = path.read_text(encoding="utf-8").splitlines(keepends=True)
    record = json.loads(lines[0])
    altered = [{**record, "state": "odd"}, {**record, "loss": "x"}, {**record, "loss": None},
               {**record, "curves": {}}, {**record, "values": {}}, {**record, "seconds": "x"},
               {**record, "losses": {"1337": 1.0}}, {**record, "curves": {"1337": [[5]]}},
               {key: value for key, value in record.items() if key != "rungs"}]  # fmt: skip
    for content in (lines[1], lines[0] + "{}\n", lines[0] + "no\n", *map(json.dumps, altered)):
        content = content if content.endswith("\n") else content + "\n"
        path.write_text(content, encoding="utf-8")
        with pytest.raises(DataError, match="line"):
            read_records(tmp_path / "s")


def test_only_the_best_trial_keeps_its_weights(config, tmp_path):
    end = swept(config, Search((RATES,), "random", trials=4), tmp_path / "s")
    kept = {path.parts[-4] for path in (tmp_path / "s").glob("trials/*/*/step-*/model.safetensors")}
    assert kept == {f"{end.best['trial']:04d}"}
    assert len(list((tmp_path / "s").glob("trials/*/*/metrics.jsonl"))) == 4


def test_the_text_is_prepared_once(config, tmp_path):
    swept(config, Search((RATES,), "random", trials=2), tmp_path / "s")
    assert (tmp_path / "s/data/manifest.json").is_file()
    assert not list((tmp_path / "s").glob("trials/*/*/data"))


def test_without_optuna_the_remedy_is_told(config, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(UnavailableError, match=r"pip install \"minigpt2\[sweep\]\""):
        swept(config, Search((RATES,)), tmp_path / "s")


def test_events_say_what_happens(config, tmp_path):
    events = list(sweep(config, Search(("model.n-layer=1,2",), "grid"), tmp_path / "s"))
    ours = [event for event in events if isinstance(event, TrialBegun | TrialEnded | SweepEnded)]
    assert [type(event).__name__ for event in ours] == [
        "TrialBegun", "TrialEnded", "TrialBegun", "TrialEnded", "SweepEnded"
    ]  # fmt: skip
    assert ours[2] == TrialBegun(2, 2, {"model.n_layer": 2}, 1337)


@pytest.mark.slow
def test_a_command_killed_twice_ends_with_the_same_trials(text_file, tmp_path):
    line = [sys.executable, "-m", "minigpt2", "sweep", str(text_file), "--search", RATES,
            "model.n-layer=1,2,3", "--trials", "24", "--prune", "--seeds", "2"]  # fmt: skip
    for key, value in FLAGS.items():
        line += [f"--{key.replace('_', '-')}", value]
    subprocess.run([*line, "--out", "whole"], cwd=tmp_path, check=True, capture_output=True)
    records = tmp_path / "killed/trials.jsonl"
    for least in (5, 14):
        process = subprocess.Popen([*line, "--out", "killed"], cwd=tmp_path,
                                   stderr=subprocess.DEVNULL)  # fmt: skip
        while not records.exists() or len(records.read_bytes().splitlines()) < least:
            assert process.poll() is None
            time.sleep(0.02)
        time.sleep(0.05)  # somewhere in the next trial
        process.kill()
        process.wait()
    again = [sys.executable, "-m", "minigpt2", "sweep", "--out", "killed"]
    subprocess.run(again, cwd=tmp_path, check=True, capture_output=True)
    kept = [re.sub(r'"seconds": [\d.]+', "", (tmp_path / name / "trials.jsonl").read_text("utf-8"))
            for name in ("whole", "killed")]  # fmt: skip
    assert kept[0] == kept[1] and len(kept[0].splitlines()) == 24
    assert {json.loads(line)["state"] for line in records.read_text("utf-8").splitlines()} == {
        "complete", "pruned"
    }  # fmt: skip
