"""Likelihoods of endings equal a loop of transformers' over one text after the other."""

import pytest
import torch
from transformers import GPT2LMHeadModel

from minigpt2 import save_pretrained
from minigpt2.evaluation import Request, likelihoods, scoring
from minigpt2.model import Bigram, BigramConfig

WINDOW = 13


@pytest.fixture
def theirs(tiny, tokenizer, tmp_path):
    save_pretrained(tiny, tokenizer, tmp_path / "model")
    return GPT2LMHeadModel.from_pretrained(tmp_path / "model").eval()


def brute_force(model, context, ending):
    """Score one text alone, cut from the left to the window; None where it does not fit."""
    if len(ending) > WINDOW:
        return None
    ids = torch.tensor([(context + ending)[-(WINDOW + 1) :]])
    with torch.inference_mode():
        logprobs = model(ids[:, :-1]).logits[0, -len(ending) :].log_softmax(-1)
    wanted = torch.tensor(ending)
    greedy = bool((logprobs.argmax(1) == wanted).all())
    return logprobs.gather(1, wanted[:, None]).sum().item(), greedy


def drawn(count, contexts, endings, choices):
    generator = torch.Generator().manual_seed(5)

    def ids(low, high):
        length = int(torch.randint(low, high, (), generator=generator))
        return torch.randint(0, 29, (length,), generator=generator).tolist()

    return [Request(ids(*contexts), [ids(*endings) for _ in range(choices)]) for _ in range(count)]


@pytest.mark.parametrize(
    "requests",
    [
        drawn(31, (1, 6), (1, 4), 4),  # all endings of a context in one row
        drawn(31, (3, 9), (2, 6), 4),  # some rows are full before
        drawn(31, (9, 30), (1, 9), 4),  # contexts are cut, each ending's its own way
        drawn(31, (1, 3), (11, 15), 3),  # endings as long as the window, and longer
        drawn(31, (1, 20), (1, 4), 1),
    ],
    ids=["short", "full rows", "cut", "long endings", "one ending"],
)
def test_likelihoods_equal_a_loop_over_single_texts(tiny, theirs, requests, monkeypatch):
    monkeypatch.setattr(scoring, "_TOKENS_AT_ONCE", 61)  # several uneven batches
    for request, found in zip(requests, likelihoods(tiny, requests), strict=True):
        for ending, likelihood in zip(request.endings, found, strict=True):
            wanted = brute_force(theirs, request.context, ending)
            if wanted is None:
                assert likelihood is None
                continue
            assert likelihood.logprob == pytest.approx(wanted[0], abs=1e-4)
            assert (likelihood.greedy, likelihood.tokens) == (wanted[1], len(ending))
            assert likelihood.cut == max(0, len(request.context) + len(ending) - 1 - WINDOW)


def test_a_smaller_window_cuts_as_a_smaller_model_would(tiny):
    requests = drawn(9, (5, 20), (1, 9), 3)
    small = likelihoods(tiny, requests, window=7)
    for request, found in zip(requests, small, strict=True):
        for ending, likelihood in zip(request.endings, found, strict=True):
            room = 7 - len(ending) + 1  # of the context: what its last target is predicted from
            if room < 1:
                assert likelihood is None
                continue
            alone = likelihoods(tiny, [Request(request.context[-room:], [ending])])[0][0]
            assert likelihood.logprob == pytest.approx(alone.logprob, abs=1e-5)


def test_the_likeliest_continuation_is_greedy(tiny):
    with torch.inference_mode():
        best = int(tiny(torch.tensor([[3, 1, 4]]))[0, -1].argmax())
    found = likelihoods(tiny, [Request([3, 1, 4], [[best], [(best + 1) % 29]])])[0]
    assert [likelihood.greedy for likelihood in found] == [True, False]


def test_a_bigram_is_scored_alike():
    model = Bigram(BigramConfig(29, WINDOW))
    torch.nn.init.normal_(model.table)
    logprobs = model.table.log_softmax(-1)
    found = likelihoods(model, [Request([5, 7], [[2, 3], [4]])])[0]
    assert found[0].logprob == pytest.approx((logprobs[7, 2] + logprobs[2, 3]).item(), abs=1e-5)
    assert found[1].logprob == pytest.approx(logprobs[7, 4].item(), abs=1e-5)


def test_scoring_keeps_the_mode_and_uses_no_dropout(tiny):
    requests = drawn(3, (1, 6), (1, 4), 4)
    tiny.h[0].mlp.dropout.p = 0.5
    tiny.train()
    assert likelihoods(tiny, requests) == likelihoods(tiny, requests)
    assert tiny.training


@pytest.mark.parametrize("request_", [Request([], [[1]]), Request([1], [[]])])
def test_what_has_no_token_is_our_own_mistake(tiny, request_):
    with pytest.raises(ValueError, match="need a token"):
        likelihoods(tiny, [request_])


def test_progress_is_told_to_the_end(tiny):
    heard = []
    likelihoods(tiny, drawn(5, (1, 6), (1, 4), 2), lambda done, total: heard.append((done, total)))
    assert heard[-1] == (5, 5)
