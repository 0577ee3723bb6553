"""A recording holds what happened: against transformers, a manual forward, and the laws."""

import re

import pytest
import torch
from torch.nn import functional as F

from minigpt2.errors import UsageError
from minigpt2.insight import induction_scores, record
from minigpt2.model import (
    GPT2,
    Bigram,
    BigramConfig,
    Block,
    GPT2Config,
    add_lora,
    set_attention,
    set_precision,
)
from minigpt2.model.attention import ATTENTION, fused_attention
from minigpt2.training.plan import checkpoint_blocks

TOKENS = torch.tensor([[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5], [8, 9, 7, 9, 3, 2, 3, 8, 4, 6, 2]])


def test_recorded_logits_equal_the_fast_path_s(tiny):
    for attend in ATTENTION.values():
        set_attention(tiny, attend)
        assert torch.allclose(record(tiny, TOKENS).logits, tiny(TOKENS), atol=1e-5)


def test_the_model_is_left_as_it_was(tiny):
    tiny.train()
    before = tiny.state_dict()
    with pytest.raises(UsageError):
        record(tiny, TOKENS, edits={"no such name": torch.relu})
    record(tiny, TOKENS)
    assert tiny.training and tiny.state_dict().keys() == before.keys()
    assert all(not m._forward_hooks and not m._forward_pre_hooks for m in tiny.modules())
    assert all(block.attn.attend is fused_attention for block in tiny.h)
    with pytest.raises(ZeroDivisionError):
        record(tiny, TOKENS, edits={"blocks.1.hook_resid_mid": lambda x: 1 / 0})
    assert "h" not in vars(tiny) and not any("forward" in vars(block) for block in tiny.h)
    checkpoint_blocks(tiny, 1)
    kept = [block.forward for block in tiny.h]
    record(tiny, TOKENS)
    assert [block.forward for block in tiny.h] == kept


def test_values_equal_those_of_transformers(tiny, tmp_path, tokenizer):
    transformers = pytest.importorskip("transformers")
    from minigpt2 import save_pretrained

    save_pretrained(tiny, tokenizer, tmp_path / "model")
    theirs = transformers.GPT2LMHeadModel.from_pretrained(
        tmp_path / "model", attn_implementation="eager"
    ).eval()
    with torch.no_grad():
        told = theirs(TOKENS, output_attentions=True, output_hidden_states=True)
    ours = record(tiny, TOKENS)
    assert torch.allclose(ours.logits, told.logits, atol=1e-5)
    for layer, pattern in enumerate(told.attentions):
        assert torch.allclose(ours["pattern", layer], pattern, atol=1e-5)
        assert torch.allclose(ours["resid_pre", layer], told.hidden_states[layer], atol=1e-5)
    assert torch.allclose(ours["ln_final.hook_normalized"], told.hidden_states[-1], atol=1e-4)


def test_values_are_those_of_the_formulas(tiny):
    """Each value from the one before it, by the paper's formulas and the model's weights."""
    r = record(tiny, TOKENS)
    B, T = TOKENS.shape
    x = r["hook_embed"] + r["hook_pos_embed"]
    close = torch.testing.assert_close
    close(r["hook_pos_embed"], tiny.wpe.weight[:T].expand(B, T, -1))
    for layer, block in enumerate(tiny.h):
        close(r["resid_pre", layer], x)
        normed = (x - x.mean(-1, keepdim=True)) / r[f"blocks.{layer}.ln1.hook_scale"]
        normed = normed * block.ln_1.weight + block.ln_1.bias
        close(r[f"blocks.{layer}.ln1.hook_normalized"], normed)
        q, k, v = block.attn.c_attn(normed).view(B, T, 3, 3, 7).unbind(2)
        for name, value in (("q", q), ("k", k), ("v", v)):
            close(r[name, layer], value)
        scores = torch.einsum("bthd,bshd->bhts", q, k) / 7**0.5
        future = torch.ones(T, T, dtype=torch.bool).triu(1)
        close(r["attn_scores", layer], scores.masked_fill(future, -torch.inf))
        close(r["pattern", layer], r["attn_scores", layer].softmax(-1))
        z = torch.einsum("bhts,bshd->bthd", r["pattern", layer], v)
        close(r["z", layer], z)
        weight = block.attn.c_proj.weight.view(21, 3, 7)
        close(r["result", layer], torch.einsum("bthd,chd->bthc", z, weight))
        close(r["attn_out", layer], r["result", layer].sum(2) + block.attn.c_proj.bias)
        x = x + r["attn_out", layer]
        close(r["resid_mid", layer], x)
        close(r["post", layer], F.gelu(r["pre", layer], approximate="tanh"))
        close(r["mlp_out", layer], block.mlp.c_proj(r["post", layer]))
        x = x + r["mlp_out", layer]
        close(r["resid_post", layer], x)
    close(r["ln_final.hook_normalized"] @ tiny.wte.weight.T, r.logits)


def test_every_name_is_there_and_only_those_wanted_are_kept(tiny):
    everything = record(tiny, TOKENS)
    assert len(everything) == 2 + 2 * 18 + 2
    some = record(tiny, TOKENS, ("*.hook_pattern", "hook_embed"))
    assert sorted(some) == [
        "blocks.0.attn.hook_pattern",
        "blocks.1.attn.hook_pattern",
        "hook_embed",
    ]
    assert torch.equal(some["pattern", 1], everything["blocks.1.attn.hook_pattern"])


@pytest.mark.parametrize(("short", "name"), [
    (("k", 1, "a"), "blocks.1.attn.hook_k"), (("pre", 1), "blocks.1.mlp.hook_pre"),
    ("embed", "hook_embed"), (("embed",), "hook_embed"), (("pos_embed", None), "hook_pos_embed"),
    (("normalized", 1, "ln2"), "blocks.1.ln2.hook_normalized"), (("v", 1), "blocks.1.attn.hook_v"),
    (("pattern", 0, "attn"), "blocks.0.attn.hook_pattern"),
    (("attn_scores", -2, "attn"), "blocks.0.attn.hook_attn_scores"),
    (("resid_post", -1), "blocks.1.hook_resid_post"), (("attn", 0), "blocks.0.attn.hook_pattern"),
    (("scale", -1, "ln1"), "blocks.1.ln1.hook_scale"), ("scale", "ln_final.hook_scale"),
    (("normalized",), "ln_final.hook_normalized"), (("post", 0, "m"), "blocks.0.mlp.hook_post"),
    (("mlp_post", 0), "blocks.0.mlp.hook_post"), ("hook_embed", "hook_embed"),
    (("query", 0), "blocks.0.attn.hook_q"), (("attn_logits", 0), "blocks.0.attn.hook_attn_scores"),
], ids=str)  # fmt: skip
def test_short_names_are_those_of_transformerlens(tiny, short, name):
    recording = record(tiny, TOKENS)
    assert recording[short] is recording.cache[name]


def test_a_negative_layer_counts_from_the_model_s_last(tiny):
    """Whatever was kept: of one layer of two, -1 is still the other."""
    recording = record(tiny, TOKENS, "blocks.0.*")
    assert ("resid_post", -2) in recording
    assert ("resid_post", -1) not in recording and ("resid_post", -3) not in recording


@pytest.mark.parametrize("key", [
    ("z", 0), ("pattern", 2), ("pattern", "0:1"), "nothing", ("pattern", 0, "mlp"), 3, None,
    ("scale", 0), ("pattern", -3), "pattern",
], ids=str)  # fmt: skip
def test_an_unknown_name_is_told_what_there_is(tiny, key):
    recording = record(tiny, TOKENS, ("*.hook_pattern", "*_scale", "hook_embed"))
    with pytest.raises(KeyError) as caught:
        recording[key]
    known = "there is: hook_embed, blocks.L.ln1.hook_scale, blocks.L.attn.hook_pattern"
    assert known in str(caught.value) and repr(key) in caught.value.args[0]


@pytest.mark.parametrize("name", [
    "hook_embed", "hook_pos_embed", "blocks.0.hook_resid_pre", "blocks.1.ln1.hook_normalized",
    "blocks.0.attn.hook_q", "blocks.0.attn.hook_k", "blocks.1.attn.hook_v",
    "blocks.0.attn.hook_attn_scores", "blocks.1.attn.hook_pattern", "blocks.1.attn.hook_z",
    "blocks.0.hook_attn_out", "blocks.0.hook_resid_mid", "blocks.1.hook_resid_mid",
    "blocks.0.ln2.hook_normalized", "blocks.1.mlp.hook_pre",
    "blocks.1.mlp.hook_post", "blocks.0.hook_mlp_out", "blocks.1.hook_resid_post",
    "ln_final.hook_normalized",
])  # fmt: skip
def test_an_edit_changes_what_comes_after_and_nothing_before(tiny, name):
    plain = record(tiny, TOKENS)
    edited = record(tiny, TOKENS, edits={name: lambda value: value * 0.5})
    assert not torch.allclose(edited.logits, plain.logits)
    assert torch.equal(edited[name], 0.5 * plain[name])
    names = list(plain)
    for earlier in names[: names.index(name)]:
        # What is derived from a value stands before it.
        if not earlier.endswith(("hook_scale", "hook_result")):
            assert torch.equal(edited[earlier], plain[earlier]), earlier
    same = record(tiny, TOKENS, edits={name: lambda value: value})
    assert torch.equal(same.logits, plain.logits)


def test_an_edited_stream_goes_on_on_both_ways(tiny):
    """Through the second part, and past it: what comes behind knows nothing else."""
    other = record(tiny, TOKENS.flip(0))
    name = "blocks.0.hook_resid_mid"
    patched = record(tiny, TOKENS, edits={name: lambda _: other[name]})
    assert torch.equal(patched.logits, other.logits)


@pytest.mark.parametrize(("name", "remedy"), [
    ("blocks.0.attn.hook_result", "edit hook_z or hook_attn_out"),
    ("blocks.0.ln1.hook_scale", "edit hook_normalized"),
    ("ln_final.hook_scale", "edit hook_normalized"),
    ("blocks.2.hook_resid_mid", "edit what a recording of everything names"),
    ("*.hook_z", "edit what a recording of everything names"),
])  # fmt: skip
def test_an_edit_that_would_do_nothing_is_refused_with_what_can_be_edited(tiny, name, remedy):
    said = re.escape(f"{name} is nothing that can be edited; {remedy}")
    with pytest.raises(UsageError, match=said):
        record(tiny, TOKENS, (), edits={name: torch.relu})


def test_no_position_is_changed_by_what_follows_it(tiny):
    later = TOKENS.clone()
    later[:, 6:] = 11
    one, other = record(tiny, TOKENS), record(tiny, later)
    for name in one:
        if "pattern" in name or "scores" in name:
            assert torch.equal(one[name][:, :, :6], other[name][:, :, :6])
        else:
            assert torch.allclose(one[name][:, :6], other[name][:, :6], atol=1e-6), name


def test_lists_and_single_rows_are_rows(tiny):
    row = record(tiny, TOKENS[0])
    assert row.tokens.shape == (1, 11)
    # a batch of two is computed in another order than one row
    assert torch.allclose(row.logits[0], record(tiny, TOKENS).logits[0], atol=1e-6)
    assert torch.equal(record(tiny, TOKENS[0].tolist()).logits, row.logits)


@pytest.mark.parametrize("precision", ["bfloat16", "int8"])
def test_smaller_weights_are_recorded_as_they_compute(tiny, precision):
    set_precision(tiny, precision)
    r = record(tiny, TOKENS)
    tolerance = {"atol": 0.1, "rtol": 0.05}
    assert torch.allclose(r.logits, tiny(TOKENS).float(), **tolerance)
    parts = r["result", 0].float().sum(2) + tiny.h[0].attn.c_proj.bias.float()
    assert torch.allclose(parts, r["attn_out", 0].float(), **tolerance)


def test_an_adapted_model_is_recorded_with_its_adapter(tiny):
    add_lora(tiny, rank=2, alpha=4.0)
    for name, parameter in tiny.named_parameters():
        if "lora" in name:
            torch.nn.init.normal_(parameter)
    r = record(tiny, TOKENS)
    assert torch.allclose(r.logits, tiny.eval()(TOKENS), atol=1e-4)
    parts = r["result", 1].sum(2) + tiny.h[1].attn.c_proj.bias
    assert torch.allclose(parts, r["attn_out", 1], atol=1e-4)


def test_what_has_no_names_is_refused_in_words(tiny):
    with pytest.raises(UsageError, match="bigram"):
        record(Bigram(BigramConfig(29)), TOKENS)
    with pytest.raises(UsageError, match="1 to the window's 13"):
        record(tiny, torch.zeros(1, 14, dtype=torch.long))
    with pytest.raises(UsageError, match=r"not torch.float32 \(1, 0\)"):
        record(tiny, [])
    with pytest.raises(UsageError, match=r"not torch.int64 \(16, 14\)"):
        induction_scores(tiny, length=7)

    class Mine(Block):
        pass

    with pytest.raises(UsageError, match="block 0"):
        record(GPT2(GPT2Config(29, 13, 1, 3, 21), block=Mine), TOKENS)


@pytest.mark.parametrize(("tokens", "said"), [
    ([3, 29], "there is no token 29; the model's are 0 to 28"),
    ([3, -1], "there is no token -1; the model's are 0 to 28"),
    (torch.tensor([1, 2**40]), "there is no token 1099511627776; the model's are 0 to 28"),
    ("the cat", "(T,) or (B, T) with T from 1 to the window's 13, not 'the cat'"),
    ([1.0, 2.0], "(T,) or (B, T) with T from 1 to the window's 13, not torch.float32 (1, 2)"),
    (torch.zeros(1, 2, 3).long(), "tokens must be ids, (T,) or (B, T) with T"),
    (None, "not 'None'"), ([[1, 2], [3]], "not '[[1, 2], [3]]'"),
])  # fmt: skip
def test_what_are_no_tokens_is_refused_in_words(tiny, tokens, said):
    with pytest.raises(UsageError, match=re.escape(said)):
        record(tiny, tokens)


@pytest.mark.parametrize("kind", [torch.uint8, torch.int16, torch.int32])
def test_ids_are_ids_in_any_size_of_integer(tiny, kind):
    assert torch.equal(record(tiny, TOKENS.to(kind)).logits, record(tiny, TOKENS).logits)


@pytest.mark.parametrize("edit", [lambda z: None, lambda z: z[:, :1], lambda z: 1.0])
def test_an_edit_that_returns_something_else_is_told(tiny, edit):
    with pytest.raises(UsageError, match=r"hook_z must return a tensor \(2, 11, 3, 7\)"):
        record(tiny, TOKENS, edits={"blocks.0.attn.hook_z": edit})


def test_an_edit_in_place_changes_nothing_that_was_kept(tiny):
    plain = record(tiny, TOKENS)
    edited = record(tiny, TOKENS, edits={"blocks.1.hook_resid_pre": lambda x: x.mul_(0)})
    assert torch.equal(edited["resid_post", 0], plain["resid_post", 0])
    assert edited["resid_pre", 1].abs().max() == 0


def test_one_pattern_is_a_pattern(tiny):
    assert len(record(tiny, TOKENS, "*.hook_pattern")) == 2
