"""Whole-split loss equals brute force for every protocol; baselines equal their definition."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from minigpt2 import save_pretrained
from minigpt2.data import bigram_loss
from minigpt2.errors import DataError, MiniGPT2Error, UsageError
from minigpt2.evaluation import baselines, evaluate, loss, mean_loss
from minigpt2.evaluation.loss import token_losses, training_subset
from minigpt2.model import Bigram, BigramConfig


class Stream:
    target_bytes = 211

    def __init__(self, ids, starts=(0,)):
        self.ids = np.asarray(ids)
        self.documents = Documents(starts)

    def __len__(self):
        return len(self.ids)

    def read(self, start, stop):
        return self.ids[start:stop]


@pytest.fixture
def stream():
    return Stream(np.random.default_rng(1).integers(0, 29, 101))


@pytest.mark.parametrize(("window", "stride"), [(13, 13), (11, 11), (13, 5), (7, 1), (1, 1)])
def test_loss_equals_brute_force(tiny, stream, window, stride, monkeypatch):
    monkeypatch.setattr(loss, "_LOGITS_AT_ONCE", 29 * 40)  # several uneven batches
    ids = torch.tensor(stream.ids)
    losses, scored, start = [], 1, 0
    while scored < 101:
        stop = min(start + window + 1, 101)
        logits = tiny(ids[None, start : stop - 1])[0]
        every = F.cross_entropy(logits, ids[start + 1 : stop], reduction="none")
        losses += every[scored - start - 1 :].tolist()
        scored, start = stop, start + stride
    result = evaluate(tiny, stream, window, stride)
    assert len(losses) == result.tokens == 100
    assert result.loss == pytest.approx(np.mean(losses), abs=1e-5)
    assert result.perplexity == pytest.approx(math.exp(result.loss))
    assert result.bits_per_byte == pytest.approx(result.loss * 100 / math.log(2) / 211)


@pytest.mark.parametrize("stride", [1, 6, 13])
def test_perplexity_equals_transformers_at_every_stride(
    tiny, tokenizer, stream, stride, tmp_path, monkeypatch
):
    """Beside a loop over single windows, as transformers' own page on perplexity lays them."""
    from transformers import GPT2LMHeadModel

    monkeypatch.setattr(loss, "_LOGITS_AT_ONCE", 29 * 40)
    save_pretrained(tiny, tokenizer, tmp_path / "model")
    theirs = GPT2LMHeadModel.from_pretrained(tmp_path / "model").eval()
    ids = torch.tensor(stream.ids)[None]
    total, scored, start = 0.0, 1, 0
    while scored < 101:
        stop = min(start + 13 + 1, 101)
        labels = ids[:, start:stop].clone()
        labels[:, : scored - start] = -100  # read before, or the first token of all
        # Its own loss would feed the last token too, whose target is beyond the window.
        with torch.inference_mode():
            logits = theirs(ids[:, start : stop - 1]).logits[0]
        total += F.cross_entropy(logits, labels[0, 1:], reduction="sum").item()
        scored, start = stop, start + stride
    assert evaluate(tiny, stream, 13, stride).perplexity == pytest.approx(
        math.exp(total / 100), rel=1e-5
    )


def test_the_head_is_computed_only_where_something_is_scored(tiny, stream, monkeypatch):
    rows, hidden = [], []
    tiny.h[1].register_forward_hook(lambda module, args, out: rows.append(out.numel() // 21))

    def counted(x, weight):
        hidden.append(x.numel() // 21)
        return F.linear(x, weight)

    monkeypatch.setattr(tiny, "head", counted)
    places = np.concatenate(
        [scored.places for scored in token_losses(tiny, stream.read, [(0, 14, 11)])]
    )
    assert places.tolist() == [11, 12, 13] and rows == [13] and hidden == [3]


def test_loss_by_position_and_document_equals_brute_force(tiny):
    ids = np.random.default_rng(3).integers(0, 29, 60)
    stream = Stream(ids, [0, 17, 40])
    result = evaluate(tiny, stream, 13, 13)
    losses, seen = np.zeros(60), np.zeros(60, int)
    for start in range(0, 59, 13):
        stop = min(start + 14, 60)
        logits = tiny(torch.tensor(ids[None, start : stop - 1]))[0]
        wanted = torch.tensor(ids[start + 1 : stop])
        losses[start + 1 : stop] = F.cross_entropy(logits, wanted, reduction="none").detach()
        seen[start + 1 : stop] = np.arange(1, stop - start)
    for place in result.by_position:
        inside = (seen >= place.least) & (seen <= place.most)
        assert place.tokens == inside.sum()
        assert place.loss == pytest.approx(losses[inside].mean(), abs=1e-5)
    assert [p.least for p in result.by_position] == [1, 2, 4, 8]
    means = [losses[1:17].mean(), losses[17:40].mean(), losses[40:].mean()]
    found = result.documents
    assert (found.count, found.median) == (3, pytest.approx(np.median(means), abs=1e-5))
    assert found.best == (int(np.argmin(means)), pytest.approx(min(means), abs=1e-5))
    assert found.worst == (int(np.argmax(means)), pytest.approx(max(means), abs=1e-5))


class Documents:
    def __init__(self, starts):
        self.starts = np.array(starts)

    def __len__(self):
        return len(self.starts)

    def read(self, first, last):
        return self.starts[first:last], None, None


def test_weights_that_are_no_numbers_are_told(tiny, stream):
    tiny.wpe.weight.data[3] = math.nan
    with pytest.raises(MiniGPT2Error, match="the loss is nan"):
        evaluate(tiny, stream)


def test_a_bigram_is_measured_by_its_table(stream):
    model = Bigram(BigramConfig(29, 13))
    torch.nn.init.normal_(model.table)
    ids = torch.tensor(stream.ids)
    wanted = F.cross_entropy(model.table[ids[:-1]], ids[1:]).item()
    assert evaluate(model, stream, 13, 5).loss == pytest.approx(wanted, abs=1e-5)


def test_baselines_equal_counting():
    train, scored = Stream([0, 1, 1, 2, 0, 1]), Stream([1, 2, 0])
    found = baselines(train, scored, 3)
    assert found["uniform"] == pytest.approx(math.log(3))
    shares = {0: 3 / 9, 1: 4 / 9, 2: 2 / 9}  # one added to each count
    wanted = -sum(math.log(shares[i]) for i in (2, 0)) / 2
    assert found["unigram"] == pytest.approx(wanted)
    assert found["bigram"] == bigram_loss(train, scored, 3)
    assert list(baselines(Stream([1]), scored, 3)) == ["uniform", "unigram"]


def test_evaluation_uses_no_dropout_and_keeps_the_mode(tiny, stream):
    tiny.h[0].mlp.dropout.p = 0.5
    tiny.train()
    assert evaluate(tiny, stream) == evaluate(tiny, stream)
    assert tiny.training


def test_protocols_that_mean_nothing_are_refused(tiny, stream):
    for window, stride in [(14, 1), (5, 6), (-1, 1)]:
        with pytest.raises(UsageError):
            evaluate(tiny, stream, window, stride)
    with pytest.raises(DataError, match="too few"):
        evaluate(tiny, Stream([1]))


def test_the_training_subset_is_as_large_as_the_validation_split(tiny):
    cut = list(training_subset(1000, 7, like=101))
    assert cut == list(training_subset(1000, 7, like=101))
    assert len(cut) == math.ceil(100 / 7) and cut[-1][0] > 800
    assert all(stop - start == 8 and first == start + 1 for start, stop, first in cut)
    assert len(list(training_subset(50, 7, like=101))) == 7  # not more than there is


def test_mean_loss_of_a_uniform_model_is_log_v(tiny, stream):
    for parameter in tiny.parameters():
        parameter.data.zero_()
    assert mean_loss(tiny, stream.read, [(0, 13, 1)]) == pytest.approx(math.log(29), abs=1e-6)


def test_bigram_loss_equals_its_definition():
    rng = np.random.default_rng(0)
    train, val = rng.integers(0, 5, 200), rng.integers(0, 7, 50)  # 5 and 6 are never seen
    total = 0.0
    for a, b in pairwise(val):
        unigram = ((train == b).sum() + 1) / (200 + 7)
        pair = ((train[:-1] == a) & (train[1:] == b)).sum()
        total -= math.log((pair + unigram) / ((train[:-1] == a).sum() + 1))
    assert bigram_loss(Stream(train), Stream(val), 7) == pytest.approx(total / 49)
