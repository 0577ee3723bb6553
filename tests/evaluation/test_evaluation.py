"""Whole-split loss equals brute force for every protocol; baselines equal their definition."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from minigpt2.data import bigram_loss
from minigpt2.errors import DataError, UsageError
from minigpt2.evaluation import evaluate, loss, mean_loss, training_subset


class Stream:
    target_bytes = 211

    def __init__(self, ids):
        self.ids = np.asarray(ids)

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
    assert mean_loss(tiny, stream, [(0, 13, 1)]) == pytest.approx(math.log(29), abs=1e-6)


def test_bigram_loss_equals_its_definition():
    rng = np.random.default_rng(0)
    train, val = rng.integers(0, 5, 200), rng.integers(0, 7, 50)  # 5 and 6 are never seen
    total = 0.0
    for a, b in pairwise(val):
        unigram = ((train == b).sum() + 1) / (200 + 7)
        pair = ((train[:-1] == a) & (train[1:] == b)).sum()
        total -= math.log((pair + unigram) / ((train[:-1] == a).sum() + 1))
    assert bigram_loss(Stream(train), Stream(val), 7) == pytest.approx(total / 49)
