"""bf16 and int8 say what fp32 says, nearly; and the head keeps what bf16 alone would lose."""

import copy

import pytest
import torch

from minigpt2.model import Bigram, BigramConfig, set_precision
from minigpt2.model import quantize as module
from minigpt2.model.quantize import Int8Linear, quantize


def test_a_quantized_weight_is_within_half_a_step():
    weight = torch.randn(37, 53)
    q, scale = quantize(weight)
    assert q.dtype == torch.int8
    error = (q * scale[:, None] - weight).abs()
    assert (error <= 0.51 * scale[:, None]).all()
    assert quantize(torch.zeros(3, 5))[0].abs().max() == 0


@pytest.mark.parametrize("onednn", [True, False], ids=["onednn", "without"])
@pytest.mark.parametrize("columns", [53, 48])  # the kernel for one row takes multiples of 16
@pytest.mark.parametrize("rows", [0, 1, 2, 97])
def test_the_product_equals_that_with_the_weight_spelled_out(rows, columns, onednn, monkeypatch):
    if not onednn:
        monkeypatch.setattr(module, "_onednn", lambda: False)
    weight, bias = torch.randn(columns, 37).T, torch.nn.Parameter(torch.randn(37))
    layer, (q, scale) = Int8Linear(weight, bias), quantize(weight)
    x = torch.randn(rows, columns) * torch.logspace(-4, 4, rows)[:, None]
    wanted = x @ (q * scale[:, None]).T + bias
    allowed = 0.03  # of bf16
    error = (layer(x) - wanted).abs() / (1 + x.abs().amax(1, keepdim=True) * columns**0.5)
    assert layer(x).shape == wanted.shape and not (error > allowed).any()


def test_a_row_does_not_depend_on_its_neighbours_in_int8():
    for size in (37, 16_384):  # each kernel
        layer = Int8Linear(torch.randn(size, 48))
        x = torch.randn(5, 48)
        alone = torch.cat([layer(x[[row]]) for row in range(5)])
        wild = torch.cat([x, 1e6 * torch.ones(1, 48)])
        torch.testing.assert_close(layer(wild)[:5], alone, rtol=0, atol=0)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_probabilities_stay_near_those_of_fp32(tiny, precision):
    small = copy.deepcopy(tiny)
    set_precision(small, precision)
    tokens = torch.arange(26).view(2, 13)
    with torch.inference_mode():
        wanted, got = tiny(tokens).softmax(-1), small(tokens).softmax(-1)
        assert got.dtype == torch.float32
        assert (got - wanted).abs().max() < 0.02
        assert small(tokens, last=0).shape == (2, 0, 29)


def test_a_common_part_of_all_embeddings_costs_no_precision(tiny):
    """Released GPT-2's logits lie near -100, where bf16 has steps of half a nat."""
    small = copy.deepcopy(tiny)
    for model in (tiny, small):
        model.wte.weight.data -= 40 * tiny.ln_f.weight.sign() / 21
        model.ln_f.bias.data += 10 * tiny.ln_f.weight.sign()
    tokens = torch.arange(13)[None]
    wanted = tiny(tokens)
    assert wanted.mean() < -100
    set_precision(small, "bfloat16")
    with torch.inference_mode():
        assert (small(tokens).log_softmax(-1) - wanted.log_softmax(-1)).abs().max() < 0.15
        torch.testing.assert_close(small(tokens), wanted, atol=2, rtol=0)


def test_a_bigram_and_other_names():
    model = Bigram(BigramConfig(29, 5))
    set_precision(model, "int8")
    assert model(torch.tensor([[3]])).dtype == torch.float32
    with pytest.raises(ValueError, match="int4"):
        set_precision(model, "int4")
