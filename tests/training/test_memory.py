"""The memory estimate: what lives in a step, on fakes as on real tensors, and its advice."""

import importlib.util
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minigpt2 import resolve, train
from minigpt2.errors import MiniGPT2Error
from minigpt2.model import ATTENTION, GPT2, GPT2Config, set_attention
from minigpt2.training import Started, loop, make_plan
from minigpt2.training.memory import (
    MemoryEstimate,
    _Live,
    available_memory,
    cache_bytes,
    cheapest_fit,
    estimate_memory,
)

SHAPE = {"model.n_layer": 5, "model.n_head": 3, "model.n_embd": 48, "model.block_size": 31,
         "model.dropout": 0.3, "training.batch_size": 8, "training.max_steps": 2}  # fmt: skip


TINY = GPT2Config(29, 31, 5, 3, 48, 0.3)


def settled(**more):
    flags = {**SHAPE, "training.dtype": "float32", "training.attention": "explicit", **more}
    config = resolve(environment={}, flags=flags).config
    return config, make_plan(config)


def living(config, plan):
    """What lives at most in a real step, counted the same way."""
    m = config.model
    model = GPT2(GPT2Config(29, m.block_size, m.n_layer, m.n_head, m.n_embd, m.dropout))
    set_attention(model, ATTENTION[plan.attention])
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    tokens = torch.zeros(plan.micro_batch_size, config.sequence_length, dtype=torch.int64)
    with _Live() as live:
        with plan.autocast():
            loss = model(tokens, tokens)
        loss.backward()
    return live.peak


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("attention", ATTENTION)
def test_a_step_on_fakes_takes_what_a_real_one_does(attention, dtype):
    config, plan = settled(**{"training.attention": attention, "training.dtype": dtype})
    estimate = estimate_memory(config, plan, TINY)
    assert estimate.activations == pytest.approx(living(config, plan), rel=0.03)
    assert estimate.parameters == estimate.gradients == estimate.optimizer / 2


def test_recomputed_blocks_and_smaller_micro_batches_take_less():
    config, plan = settled()
    whole = estimate_memory(config, plan, TINY).activations
    every = [
        estimate_memory(settled(**{"training.activation_checkpointing": k})[0], plan, TINY)
        for k in (1, 2, 4)
    ]
    assert every[0].activations < every[1].activations < every[2].activations < whole
    half = estimate_memory(config, replace(plan, micro_batch_size=4), TINY).activations
    assert 0.4 * whole < half < 0.6 * whole


def test_of_frozen_parameters_there_are_no_moments():
    config, plan = settled()
    lora = replace(config, training=replace(config.training, lora_rank=2))
    plain, adapted = estimate_memory(config, plan, TINY), estimate_memory(lora, plan, TINY)
    assert adapted.optimizer < plain.optimizer / 5
    assert adapted.parameters > plain.parameters


@pytest.mark.parametrize("frozen", ["wte,wpe,ln_f,h.0", "wte,h.4", "h.9"])
def test_frozen_blocks_are_counted_where_they_are(frozen):
    config, plan = settled()
    some = replace(config, training=replace(config.training, freeze=frozen))
    whole, part = estimate_memory(config, plan, TINY), estimate_memory(some, plan, TINY)
    assert part.optimizer < whole.optimizer or frozen == "h.9"  # which is told elsewhere
    assert 0 < part.activations <= whole.activations


def test_the_cheapest_change_that_fits_is_named():
    config, plan = settled()
    rooms = [
        estimate_memory(config, replace(plan, micro_batch_size=n), TINY).step for n in (4, 2, 1)
    ]
    told = [cheapest_fit(config, plan, TINY, room) for room in (rooms[0], rooms[1], rooms[2] - 1)]
    one = "the cheapest change: --training.micro-batch-size"
    assert told[0].startswith(f"{one} 4 needs about")
    assert told[1].startswith(f"{one} 2 needs about")
    assert told[2].startswith(f"{one} 1 --training.activation-checkpointing 1")
    assert cheapest_fit(config, plan, TINY, rooms[2] // 4) == "a smaller model is needed here"


def test_the_cache_is_keys_and_values_of_a_whole_context():
    config, _ = settled()
    assert cache_bytes(config) == 2 * 5 * 31 * 48 * 4


def test_a_run_says_what_it_takes_and_what_would_fit(text_file, tmp_path, monkeypatch):
    monkeypatch.setattr("minigpt2.training.memory.available_memory", lambda device: 1_000_000)
    more = {"data.input_file": str(text_file), "logging.model_save_path": str(tmp_path / "run")}
    config, _ = settled(**more)
    lines = []
    events = list(train(config, say=lines.append))
    assert isinstance(events[0], Started) and isinstance(events[0].memory, MemoryEstimate)
    [line] = [text for text in lines if text.startswith("memory:")]
    assert "only 1.0 MB is free: a smaller model is needed here" in line


def test_a_failed_allocation_names_the_cheapest_change(text_file, tmp_path, monkeypatch):
    def full(*arguments):
        raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9")

    monkeypatch.setattr(loop, "accumulate", full)
    more = {"data.input_file": str(text_file), "logging.model_save_path": str(tmp_path / "run")}
    with pytest.raises(MiniGPT2Error) as error:
        list(train(settled(**more)[0]))
    assert "out of memory at step 1; the cheapest change: --training.micro" in str(error.value)


def test_what_is_free_is_known_here():
    room = available_memory("cpu")
    assert sys.platform != "linux" or 1e7 < room < 1e14


LIMITED = """
import resource, sys, torch
from minigpt2.__main__ import run
used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (1500 << 20), used + (1500 << 20)))
sys.exit(run(sys.argv[1:]))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="limits are Linux's")
def test_memory_that_really_runs_out_is_told_in_a_line(tmp_path):
    line = [sys.executable, "-c", LIMITED, "train", "--training.max-steps", "3", "--preset",
            "shakespeare-char-10m", "--training.dtype", "float32", "--training.attention",
            "explicit", "--out", "run"]  # fmt: skip
    result = subprocess.run(line, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    [told] = [text for text in result.stderr.splitlines() if text.startswith("minigpt2:")]
    assert "out of memory at step 1; the cheapest change: --training.micro-batch-size" in told


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peaks are read as Linux tells them")
def test_the_estimate_is_within_a_fifth_of_the_peak_for_three_presets(tmp_path, monkeypatch):
    path = Path(__file__).parent.parent.parent / "benchmarks/memory.py"
    spec = importlib.util.spec_from_file_location("memory_benchmark", path)
    benchmark = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(benchmark)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    for preset in ("shakespeare-char", "tiny-byte", "shakespeare-bpe"):
        said, measured = benchmark.measure([preset], str(tmp_path))
        assert 0.8 < said / measured < 1.2, preset
