"""The paper figures of docs/scale.md: counts beside torch, the fit, the prediction, the tables."""

import importlib.util
import re
import sys
from math import sqrt
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from minigpt2 import resolve, train
from minigpt2.model import ATTENTION, GPT2, GPT2Config, set_attention
from minigpt2.training import make_plan
from minigpt2.training.memory import estimate_memory

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/scale.md").read_text(encoding="utf-8")


def load():
    spec = importlib.util.spec_from_file_location("scale_paper", ROOT / "benchmarks/scale.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


scale = load()
SMALL, *_, LARGE = scale.SHAPES


@pytest.mark.parametrize("shape", scale.SHAPES, ids=lambda shape: shape.name)
def test_the_parameters_are_those_of_the_model(shape):
    heads = shape.n_embd // 64  # every released GPT-2 has heads of 64
    config = GPT2Config(shape.vocab_size, shape.block_size, shape.n_layer, heads, shape.n_embd)
    with torch.device("meta"):
        model = GPT2(config)
    assert sum(p.numel() for p in model.h[0].parameters()) == shape.block
    assert sum(p.numel() for p in model.parameters()) == shape.parameters


def test_the_small_one_has_as_many_as_the_released_one():
    assert SMALL.parameters == 124_439_808


def test_the_flops_are_those_torch_counts_but_for_what_is_no_product():
    shape = scale.Shape("tiny", n_layer=3, n_embd=22, vocab_size=29, block_size=13)
    model = GPT2(GPT2Config(29, 13, 3, 2, 22))
    set_attention(model, ATTENTION["explicit"])  # torch counts its products, and no flash kernel's
    tokens = torch.zeros(5, 13, dtype=torch.int64)
    with FlopCounterMode(display=False) as counter:
        model(tokens, tokens).backward()
    matrices = [p for name, p in model.named_parameters() if p.dim() == 2 and "wpe" not in name]
    products = sum(p.numel() for p in matrices)
    rest = 6 * (shape.parameters - products)  # positions, biases, LayerNorms
    assert counter.get_total_flops() == 5 * 13 * (shape.flops - rest)


def test_what_is_no_product_is_under_a_hundredth_of_n():
    for shape in scale.SHAPES:
        products = 12 * shape.n_embd**2 * shape.n_layer + shape.vocab_size * shape.n_embd
        assert 0.99 < products / shape.parameters < 1


def test_the_fit_gives_back_the_run_it_was_made_on():
    assert scale.predict(scale.SEEN) == pytest.approx((0.300, 0.300))
    assert scale.SEEN.step_tokens / 0.300 == pytest.approx(1.75e6, rel=0.01)
    assert 0.59 < scale.MFU < 0.61  # "up to ~60%" in the run's own words
    assert scale.MFU < scale.EFFICIENCY < 1


def test_the_errors_of_the_prediction_are_those_the_page_states():
    errors = [scale.predict(run)[1] / run.step_seconds - 1 for run in scale.UNSEEN]
    assert errors == pytest.approx([-0.16, -0.02, -0.02, -0.18], abs=0.005)
    one_term = scale.predict(scale.UNSEEN[0])[0] / scale.UNSEEN[0].step_seconds - 1
    for error in (errors[0], errors[1], errors[3], one_term):
        assert f"{-100 * error:.0f} % too short" in PAGE
    slower = [round(1 / (1 + error), 1) for error in (errors[0], errors[3])]
    assert slower == [1.2, 1.2] and "times 1.2" in PAGE


def test_the_unseen_run_took_45_minutes():
    run = scale.UNSEEN[0]
    assert 10.26e9 / run.step_tokens * run.step_seconds / 60 == pytest.approx(45, abs=0.5)


@pytest.mark.parametrize("recompute", [False, True])
def test_the_memory_is_what_our_estimate_counts(recompute):
    flags = {"model.n_layer": 12, "model.n_head": 12, "model.n_embd": 768, "model.block_size": 1024,
             "model.dropout": 0.0, "training.batch_size": 2, "training.max_steps": 1,
             "training.dtype": "bfloat16", "training.attention": "fused"}  # fmt: skip
    if recompute:
        flags["training.activation_checkpointing"] = 1
    config = resolve(environment={}, flags=flags).config
    said = estimate_memory(config, make_plan(config), GPT2Config(50257, 1024, 12, 12, 768))
    assert said.parameters + said.gradients + said.optimizer == 16 * SMALL.parameters
    # Of recomputed blocks the bf16 copies go too; the head's stays.
    copies = 2 * (SMALL.root if recompute else SMALL.parameters)
    ours = 2 * 1024 * (SMALL.activations(recompute) + SMALL.logits) + copies
    assert ours == pytest.approx(said.activations, rel=0.01)


def test_a_checkpoint_is_twelve_bytes_a_parameter(text_file, tmp_path):
    flags = {"model.n_layer": 3, "model.n_head": 3, "model.n_embd": 96, "model.block_size": 32,
             "data.input_file": str(text_file), "data.tokenizer": "byte",
             "training.optimizer": "adamw", "training.batch_size": 2, "training.max_steps": 1,
             "training.dtype": "float32", "training.attention": "explicit",
             "logging.model_save_path": str(tmp_path / "run")}  # fmt: skip
    list(train(resolve(environment={}, flags=flags).config))
    step = next((tmp_path / "run").glob("step-*"))
    files = [step / name for name in ("model.safetensors", "optimizer.safetensors")]
    shape = scale.Shape("little", 3, 96, vocab_size=256, block_size=32)
    assert sum(f.stat().st_size for f in files) == pytest.approx(shape.checkpoint, rel=0.02)


def test_rings_send_what_a_ring_sends():
    """An all-reduce around a ring: W-1 chunks to be summed, W-1 to be spread."""
    for gpus in (2, 8, 512):
        chunk = 4 * SMALL.parameters / gpus
        assert SMALL.communication(gpus, False) == pytest.approx(2 * (gpus - 1) * chunk)
        assert SMALL.communication(gpus, True) < SMALL.communication(gpus, False)
    assert SMALL.communication(1, True) == SMALL.communication(1, False) == 0


def test_sharding_divides_the_state_and_keeps_a_group_whole():
    for shape in scale.SHAPES:
        transient = shape.state(10**12, True)
        assert shape.state(64, True) - transient == pytest.approx(shape.parameters / 4, rel=1e-3)
        assert transient < shape.state(8, True) < shape.state(1, False)


@pytest.mark.parametrize("gpus", scale.GPUS)
def test_no_other_interval_loses_less(gpus):
    cost, mtbf = LARGE.checkpoint / scale.DISK, scale.GPU_HOURS_A_FAILURE * 3600 / gpus

    def lost(interval):
        return cost / interval + interval / 2 / mtbf + scale.RESTART / mtbf

    interval, share = scale.best_interval(LARGE, gpus)
    assert interval == sqrt(2 * cost * mtbf) and share == pytest.approx(lost(interval))
    assert share < min(lost(0.9 * interval), lost(1.1 * interval))


def test_larger_batches_obey_the_hyperbola():
    """(S / S_min - 1)(E / E_min - 1) = 1 for steps S and tokens E: McCandlish et al. 2018."""
    least = scale.more_tokens(0, 3.3)  # a batch of nothing: E_min, in units of the 0.5M batch's
    fewest = least * scale.BATCH / scale.critical_batch(3.3)  # S_min = E_min / B_crit
    assert scale.more_tokens(scale.BATCH, 3.3) == 1
    for batch in (2**19, 2**22):
        tokens = scale.more_tokens(batch, 3.3)
        steps = tokens * scale.BATCH / batch
        assert (steps / fewest - 1) * (tokens / least - 1) == pytest.approx(1)


def test_the_fixed_batch_ends_at_512_gpus():
    assert scale.batch_tokens(512) == scale.BATCH == 512 * 1024
    assert scale.batch_tokens(1024) == 2 * scale.BATCH


def test_the_page_holds_the_tables_the_script_prints():
    parts = re.findall(r"<!-- scale: (\w+) -->\n((?:\|.*\n)+)", PAGE)
    assert {name: text.rstrip("\n") for name, text in parts} == scale.tables()
    assert len(parts) == len(scale.tables())
