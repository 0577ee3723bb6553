"""Laws of the model: causality, the cache, dropout, initialisation, and its formulas."""

import math

import pytest
import torch
from torch.nn import functional as F

from minigpt2.model import (
    ATTENTION,
    GPT2,
    Bigram,
    BigramConfig,
    Block,
    GPT2Config,
    KVCache,
    set_attention,
)
from minigpt2.model.attention import attention_weights
from minigpt2.model.gpt2 import MLP

B, T, V = 5, 11, 29


@pytest.fixture
def tokens():
    return torch.randint(V, (B, T), generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("attention", ATTENTION)
def test_loss_at_t_has_no_gradient_in_later_inputs(tiny, tokens, attention):
    set_attention(tiny, ATTENTION[attention])
    embedded = {}
    tiny.wte.register_forward_hook(lambda m, a, y: embedded.setdefault("x", y.requires_grad_()))
    logits = tiny(tokens)
    for t in range(T):
        loss = F.cross_entropy(logits[:, t], tokens[:, t])
        [gradient] = torch.autograd.grad(loss, embedded["x"], retain_graph=True)
        reached = gradient.abs().sum((0, 2)) > 0
        assert reached[: t + 1].all() and not reached[t + 1 :].any()


def test_every_parameter_gets_a_finite_nonzero_gradient(tiny, tokens):
    tiny(tokens, tokens.roll(-1, 1)).backward()
    for name, parameter in tiny.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_attention_rows_sum_to_one_and_see_no_future():
    q, k = torch.randn(2, 3, 5, 7), torch.randn(2, 3, 11, 7)
    weights = attention_weights(q, k)
    torch.testing.assert_close(weights.sum(-1), torch.ones(2, 3, 5))
    assert (weights.triu(11 - 5 + 1) == 0).all()
    assert (weights.tril(11 - 5) > 0).sum() == 2 * 3 * (7 + 8 + 9 + 10 + 11)


@pytest.mark.parametrize("past", [0, 4])
def test_all_attention_paths_compute_the_same(past):
    q, k, v = (
        torch.randn(2, 3, 5, 7),
        torch.randn(2, 3, 5 + past, 7),
        torch.randn(2, 3, 5 + past, 7),
    )
    wanted = torch.zeros_like(q)
    for b, h, t in torch.cartesian_prod(*map(torch.arange, q.shape[:3])).tolist():
        seen = past + t + 1
        scores = torch.stack([q[b, h, t] @ k[b, h, s] / math.sqrt(7) for s in range(seen)])
        wanted[b, h, t] = scores.exp() / scores.exp().sum() @ v[b, h, :seen]
    for name, attend in ATTENTION.items():
        torch.testing.assert_close(attend(q, k, v, 0.0), wanted, msg=name)


def test_mlp_and_layer_norm_equal_their_formulas(tiny):
    block, x = tiny.h[0], torch.randn(B, T, 21)
    mean, variance = x.mean(-1, keepdim=True), x.var(-1, keepdim=True, unbiased=False)
    normed = (x - mean) / (variance + 1e-5).sqrt() * block.ln_2.weight + block.ln_2.bias
    torch.testing.assert_close(block.ln_2(x), normed)
    inner = normed @ block.mlp.c_fc.weight.T + block.mlp.c_fc.bias
    cubic = math.sqrt(2 / math.pi) * (inner + 0.044715 * inner**3)
    outer = 0.5 * inner * (1 + cubic.tanh()) @ block.mlp.c_proj.weight.T + block.mlp.c_proj.bias
    assert isinstance(block.mlp, MLP)
    torch.testing.assert_close(block.mlp(normed), outer)


@pytest.mark.parametrize("attention", ATTENTION)
def test_cached_logits_equal_uncached(tiny, tokens, attention):
    set_attention(tiny, ATTENTION[attention])
    whole = tiny(tokens)
    for pieces in ([T], [1] * T, [4, 1, 6], [3, 5, 3]):
        cache = KVCache(tiny.config, B)
        parts = [tiny(piece, cache=cache) for piece in tokens.split(pieces, dim=1)]
        assert cache.length == T
        torch.testing.assert_close(torch.cat(parts, 1), whole, atol=1e-5, rtol=1e-5)


def test_dropout_acts_in_training_and_never_in_evaluation(tokens):
    model = GPT2(GPT2Config(V, 13, 2, 3, 21, dropout=0.5))
    for attend in ATTENTION.values():
        set_attention(model, attend)
        assert not torch.equal(model.train()(tokens), model(tokens))
        assert torch.equal(model.eval()(tokens), model(tokens))


def test_attention_weights_are_dropped_too(tokens):
    q = torch.randn(2, 3, 5, 7)
    for name, attend in ATTENTION.items():
        assert not torch.equal(attend(q, q, q, 0.5), attend(q, q, q, 0.5)), name


def test_head_and_embedding_are_one_tensor(tiny, tokens):
    assert sum(p.numel() for p in tiny.parameters()) == (
        29 * 21 + 13 * 21 + 2 * (12 * 21**2 + 13 * 21) + 2 * 21
    )
    final = {}
    tiny.ln_f.register_forward_hook(lambda m, a, y: final.setdefault("x", y))
    logits = tiny(tokens)
    torch.testing.assert_close(logits, final["x"] @ tiny.wte.weight.T)


def test_initialisation_is_gpt2s():
    torch.manual_seed(0)
    model = GPT2(GPT2Config(997, 128, 6, 4, 128))
    for name, parameter in model.named_parameters():
        if name.endswith("c_proj.weight"):
            assert parameter.std().item() == pytest.approx(0.02 / math.sqrt(12), rel=0.05), name
        elif parameter.dim() == 2:
            assert parameter.std().item() == pytest.approx(0.02, rel=0.05), name
        else:
            assert (parameter == (1 if name.endswith("weight") else 0)).all(), name


def test_blocks_are_replaceable(tokens):
    class Shortcut(Block):
        def forward(self, x, cache=None, mask=None):
            return x

    model = GPT2(GPT2Config(V, 13, 2, 3, 21), block=Shortcut)
    x = model.wte(tokens) + model.wpe.weight[:T]
    torch.testing.assert_close(model(tokens), model.ln_f(x) @ model.wte.weight.T)


def test_too_many_tokens_are_refused(tiny):
    with pytest.raises(ValueError, match="14 tokens exceed block_size 13"):
        tiny(torch.zeros(1, 14, dtype=torch.int64))


def test_ignored_targets_do_not_count(tiny, tokens):
    targets = tokens.roll(-1, 1)
    targets[2:] = -100
    torch.testing.assert_close(tiny(tokens, targets), tiny(tokens[:2], targets[:2]))


def test_bigram_depends_on_the_last_token_alone():
    model = Bigram(BigramConfig(V))
    model.table.data.normal_()
    a, b = torch.tensor([[1, 2, 3]]), torch.tensor([[7, 5, 3]])
    assert torch.equal(model(a)[:, -1], model(b)[:, -1])
    assert not torch.equal(model(a)[:, 0], model(b)[:, 0])
