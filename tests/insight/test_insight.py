"""Lens, scores, contributions, ablation: each against what it means, computed another way."""

import pytest
import torch
from torch.nn import functional as F

from minigpt2.errors import UsageError
from minigpt2.insight import (
    ablate,
    contributions,
    head_scores,
    induction_scores,
    lens,
    rank_path,
    record,
)
from minigpt2.insight.readings import CONTRIBUTIONS_NAMES, LENS_NAMES
from minigpt2.insight.record import Recording
from minigpt2.model import set_precision

TOKENS = torch.tensor([3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5])


def test_the_lens_ends_at_the_model_s_own_answer(tiny):
    recording = record(tiny, TOKENS, LENS_NAMES)
    seen = lens(tiny, recording)
    end = tiny(TOKENS[None])[0].softmax(-1)
    assert seen.ids.shape == (3, 11, 5) and seen.kl.shape == (3, 11)
    assert torch.equal(seen.ids[-1], end.topk(5).indices)
    assert torch.allclose(seen.probabilities[-1], end.topk(5).values, atol=1e-6)
    assert seen.kl[-1].abs().max() < 1e-6 and seen.kl[:-1].min() > 0


def test_the_lens_reads_each_layer_as_if_it_were_the_last(tiny):
    recording = record(tiny, TOKENS)
    seen = lens(tiny, recording)
    end = recording.logits[0].log_softmax(-1)
    del tiny.h[1]  # what is left is layer 0, then norm and head
    shorter = tiny(TOKENS[None])[0].log_softmax(-1)
    assert torch.allclose(seen.probabilities[1], shorter.topk(5).values.exp(), atol=1e-6)
    kl = F.kl_div(shorter, end, reduction="none", log_target=True).sum(-1)
    assert torch.allclose(seen.kl[1], kl, atol=1e-5)


def test_a_rank_path_counts_the_likelier_tokens(tiny):
    recording = record(tiny, TOKENS, LENS_NAMES)
    ranks, probabilities = rank_path(tiny, recording, position=4, token=17)
    end = tiny(TOKENS[None])[0, 4].softmax(-1)
    assert ranks[-1] == sorted(end.tolist(), reverse=True).index(end[17].item()) + 1
    assert probabilities[-1].item() == pytest.approx(end[17].item(), abs=1e-6)
    seen = lens(tiny, recording)
    for layer, token in enumerate(seen.ids[:, 4, 2].tolist()):  # the third likeliest there
        assert rank_path(tiny, recording, 4, token)[0][layer] == 3


def looks(*pairs, T):
    """A recording of one head that looks from and to the given places, and else at itself."""
    pattern = torch.eye(T)
    for at, to in pairs:
        pattern[at] = F.one_hot(torch.tensor(to), T)
    return {"blocks.0.attn.hook_pattern": pattern[None, None]}


def test_scores_are_what_their_names_say():
    tokens = torch.tensor([[7, 8, 9, 7, 8, 5]])
    nothing = torch.zeros(1, 6, 10)
    back = Recording(tokens, nothing, looks(*((t, t - 1) for t in range(1, 6)), T=6), 1)
    assert [x.item() for x in vars(head_scores(back)).values()] == pytest.approx([1, 0.2, 0])
    start = Recording(tokens, nothing, looks(*((t, 0) for t in range(1, 6)), T=6), 1)
    assert [x.item() for x in vars(head_scores(start)).values()] == pytest.approx([0.2, 1, 0])
    # 7 stood at 0, and 8 followed it; 8 at 1, and 9 followed.
    copies = Recording(tokens, nothing, looks((3, 1), (4, 2), T=6), 1)
    assert head_scores(copies).induction.item() == 1
    half = Recording(tokens, nothing, looks((3, 1), T=6), 1)
    assert head_scores(half).induction.item() == 0.5


def test_without_a_repetition_there_is_no_induction_to_measure():
    tokens = torch.tensor([[7, 7, 8]])  # the successor of the first 7 is the 7 that looks
    alone = Recording(tokens, torch.zeros(1, 3, 10), looks((1, 0), T=3), 1)
    assert head_scores(alone).induction.isnan().all()


def test_a_head_made_to_copy_scores_one_on_random_repeats(tiny, monkeypatch):
    before = induction_scores(tiny, rows=3)
    assert before.shape == (2, 3) and before.min() > 0 and before.max() < 0.5

    def copying(model, tokens, names):
        half = tokens.shape[1] // 2
        pattern = torch.zeros(1, 1, 2 * half, 2 * half)
        for t in range(half, 2 * half):
            pattern[0, 0, t, t - half + 1] = 1
        assert torch.equal(tokens[:, :half], tokens[:, half:])
        return {("pattern", 0): pattern, ("pattern", 1): 0.5 * pattern}

    monkeypatch.setattr("minigpt2.insight.readings.record", copying)
    assert induction_scores(tiny).flatten().tolist() == [1.0, 0.5]


@pytest.mark.parametrize("position", [0, 5, 10])
def test_contributions_sum_to_the_difference_of_logits(tiny, position):
    recording = record(tiny, TOKENS, CONTRIBUTIONS_NAMES)
    parts = contributions(tiny, recording, position, a=23, b=4)
    logits = tiny(TOKENS[None])[0, position].detach()
    assert sum(p.value for p in parts) == pytest.approx(float(logits[23] - logits[4]), abs=1e-4)
    assert len(parts) == 2 + 2 * (3 + 1 + 1) + 1 and len({p.name for p in parts}) == len(parts)


def test_a_contribution_is_what_the_logits_lose_without_the_part(tiny):
    """With the norm's divisor held, taking a part out of the stream takes exactly its share."""
    recording = record(tiny, TOKENS)
    (share,) = [p.value for p in contributions(tiny, recording, 6, 2, 3) if p.name == "L1H2"]
    x = recording["resid_post", 1][0, 6] - recording["result", 1][0, 6, 2]
    scale = recording["ln_final.hook_scale"][0, 6]
    normed = (x - x.mean()) / scale * tiny.ln_f.weight + tiny.ln_f.bias
    without = normed.detach() @ (tiny.wte.weight[2] - tiny.wte.weight[3])
    whole = recording.logits[0, 6, 2] - recording.logits[0, 6, 3]
    assert share == pytest.approx(float((whole - without).detach()), abs=1e-4)


@pytest.mark.parametrize("replace", ["zero", "mean"])
def test_an_ablated_head_changes_what_a_manual_forward_changes(tiny, replace):
    recording = record(tiny, TOKENS)
    ablated = ablate(tiny, recording, ["L0H1", "L1 MLP"], replace)
    attn, D = tiny.h[0].attn, 7

    def without_head_1(z_BTC):
        z_BTC = z_BTC.clone()
        part = z_BTC[..., D : 2 * D]
        z_BTC[..., D : 2 * D] = 0 if replace == "zero" else part.mean(1, keepdim=True)
        return z_BTC

    x = tiny.wte(TOKENS) + tiny.wpe(torch.arange(11))
    x = x[None]
    kept = attn.c_proj.forward
    attn.c_proj.forward = lambda z: kept(without_head_1(z))
    x = tiny.h[0](x)
    x = x + tiny.h[1].attn(tiny.h[1].ln_1(x))
    out = tiny.h[1].mlp(tiny.h[1].ln_2(x))
    x = x + (0 if replace == "zero" else out.mean(1, keepdim=True))
    manual = tiny.ln_f(x) @ tiny.wte.weight.T
    assert torch.allclose(ablated.logits, manual, atol=1e-5)
    assert not torch.allclose(ablated.logits, recording.logits, atol=1e-2)


def test_nothing_ablated_is_nothing_changed_and_all_is_the_embedding(tiny):
    recording = record(tiny, TOKENS)
    assert torch.equal(ablate(tiny, recording, []).logits, recording.logits)
    alone = ablate(tiny, recording, ["L0", "L1 attention", "L1 MLP"])
    assert torch.equal(alone["resid_post", 1], recording["resid_pre", 0])


@pytest.mark.parametrize(
    "part", ["L2H0", "L0H3", "H1", "", "L0 mlp", "L0H1 ", "L-1H0", "L" * 99, ("L0", 1)]
)
def test_a_part_that_is_not_there_is_named(tiny, part):
    with pytest.raises(UsageError, match="no part of this model: L0 to L1, with H0 to H2"):
        ablate(tiny, record(tiny, TOKENS), [part])


def test_a_replacement_that_is_none_is_refused_by_name(tiny):
    for parts in (["L0H1"], ["L0 MLP"], []):
        with pytest.raises(UsageError, match="replace must be 'zero' or 'mean', not 'resample'"):
            ablate(tiny, record(tiny, TOKENS), parts, "resample")


def test_a_string_is_one_part_and_one_pattern(tiny):
    recording = record(tiny, TOKENS)
    one = ablate(tiny, recording, "L0H1", names="*.hook_z")
    assert torch.equal(one.logits, ablate(tiny, recording, ["L0H1"]).logits)
    assert not torch.equal(one.logits, recording.logits) and len(one) == 2


@pytest.mark.parametrize("token", [29, -1])
def test_a_token_that_is_not_there_is_named(tiny, token):
    recording, said = record(tiny, TOKENS), f"there is no token {token}; the model's are 0 to 28"
    for ask in (
        lambda: rank_path(tiny, recording, 3, token),
        lambda: contributions(tiny, recording, 3, token, 2),
        lambda: contributions(tiny, recording, 3, 2, token),
    ):
        with pytest.raises(UsageError, match=said):
            ask()
    with pytest.raises(UsageError, match="there is no token 17; the model's are 0 to 16"):
        rank_path(tiny, recording, 3, 17, vocab_size=17)


def test_what_was_not_recorded_is_named(tiny):
    with pytest.raises(KeyError, match=r"there is: blocks\.L\.attn\.hook_pattern"):
        lens(tiny, record(tiny, TOKENS, "*.hook_pattern"))


def test_insight_works_on_smaller_weights(tiny):
    set_precision(tiny, "bfloat16")
    recording = record(tiny, TOKENS)
    told = sum(p.value for p in contributions(tiny, recording, 7, 2, 3))
    logits = recording.logits[0, 7]
    assert told == pytest.approx(float(logits[2] - logits[3]), abs=0.1)
    assert torch.equal(lens(tiny, recording).ids[-1], recording.logits[0].topk(5).indices)


def test_ids_without_a_name_are_left_out_of_the_lens(tiny):
    recording = record(tiny, TOKENS, LENS_NAMES)
    seen = lens(tiny, recording, most=17, vocab_size=17)  # of 29
    end = tiny(TOKENS[None])[0, :, :17].softmax(-1)
    assert torch.allclose(seen.probabilities[-1], end.topk(17).values, atol=1e-6)
    assert seen.ids.max() == 16 and seen.kl[-1].abs().max() < 1e-6
    assert rank_path(tiny, recording, 3, 5, 17)[1][-1].item() == pytest.approx(end[3, 5].item())
