"""Batches are a pure function of the step: every token once an epoch, for any world."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt2.data import batches as batches_module
from minigpt2.data.batches import IGNORED, Batches, permute, windows
from minigpt2.errors import DataError


class Stream:
    """Ids equal to their positions, so that a batch shows where it was read."""

    target_bytes = 0

    def __init__(self, length):
        self.ids = np.arange(length)

    def __len__(self):
        return len(self.ids)

    def read(self, start, stop):
        assert 0 <= start < stop <= len(self.ids)
        return self.ids[start:stop]


def drawn(batches, samples):
    """The target positions of the first samples, each as a list."""
    rows = (batches.window(sample) for sample in range(samples))
    return [list(range(first, stop)) for _, stop, first in rows]


@settings(max_examples=60)
@given(st.integers(8, 300), st.integers(1, 7), st.integers(0, 2**63))
def test_every_token_but_the_first_is_a_target_once_an_epoch(tokens, length, seed):
    batches = Batches(Stream(tokens), 3, length, seed)
    for epoch in range(4):
        low, high = batches.samples(epoch), batches.samples(epoch + 1)
        seen = Counter(t for row in drawn(batches, high)[low:] for t in row)
        assert seen == Counter(range(1, tokens))


@pytest.mark.parametrize("world", [2, 4, 5])
def test_the_global_order_does_not_depend_on_the_world(world):
    batches = Batches(Stream(311), 6, 7, seed=3)
    for step in range(40):
        tokens, targets = batches.batch(step)
        parts = [batches.batch(step, rank, world) for rank in range(world)]
        assert np.array_equal(np.concatenate([t for t, _ in parts]), tokens)
        assert np.array_equal(np.concatenate([y for _, y in parts]), targets)


def test_a_batch_is_a_function_of_seed_and_step():
    one, two = (Batches(Stream(311), 6, 7, seed=3) for _ in range(2))
    for step in (57, 3, 0):  # in any order
        assert np.array_equal(one.batch(step)[0], two.batch(step)[0])
    other = Batches(Stream(311), 6, 7, seed=4)
    assert not np.array_equal(one.batch(0)[0], other.batch(0)[0])


def test_epochs_differ_in_phase_and_order():
    batches = Batches(Stream(311), 6, 7, seed=3)
    borders = [batches.samples(epoch) for epoch in range(9)]
    epochs = [drawn(batches, borders[-1])[a:b] for a, b in pairwise(borders)]
    assert len({tuple(map(tuple, sorted(epoch))) for epoch in epochs}) >= 4  # phases
    assert all(epoch != sorted(epoch) for epoch in epochs)  # order


def test_targets_follow_their_tokens_and_padding_is_ignored():
    batches = Batches(Stream(20), 4, 7, seed=1)
    for step in range(10):
        tokens, targets = (tensor.numpy() for tensor in batches.batch(step))
        real = targets != IGNORED
        assert (targets[real] == tokens[real] + 1).all()
        assert all((np.diff(row.astype(int)) <= 0).all() for row in real)  # padding at the end


def test_steps_of_an_epoch_reach_its_end():
    batches = Batches(Stream(311), 6, 7, seed=3)
    assert batches.steps(1) * 6 >= batches.samples(1) > (batches.steps(1) - 1) * 6
    assert batches.samples(3) > batches.samples(2) > batches.samples(1)


def test_a_text_shorter_than_a_window_is_a_clear_error():
    with pytest.raises(DataError, match=r"7 tokens, fewer than one window of 7 \+ 1"):
        Batches(Stream(7), 1, 7, 0)


@settings(max_examples=60)
@given(st.integers(1, 2000), st.integers(0, 2**64 - 1))
def test_permute_is_a_permutation(count, key):
    assert sorted(permute(np.arange(count), count, key).tolist()) == list(range(count))


def test_rows_arranged_at_once_are_those_arranged_one_by_one(monkeypatch):
    at_once = drawn(Batches(Stream(311), 6, 7, seed=3), 150)
    monkeypatch.setattr(batches_module, "_BATCHES_ARRANGED", 1)
    assert drawn(Batches(Stream(311), 6, 7, seed=3), 150) == at_once


def test_permute_spreads():
    """Over many keys each place is reached about equally often (chi-square, 6 degrees)."""
    hits = Counter(int(permute(np.array([3]), 7, key)[0]) for key in range(7000))
    assert sum((hits[place] - 1000) ** 2 / 1000 for place in range(7)) < 22.5  # p = 0.001


@given(st.integers(2, 120), st.integers(1, 13), st.data())
def test_evaluation_windows_score_every_token_once(total, length, data):
    stride = data.draw(st.integers(1, length))
    scored = []
    for start, stop, first in windows(total, length, stride):
        assert start < first < stop <= total and stop - start <= length + 1
        assert first - start > min(length - stride, first - 1)
        scored += range(first, stop)
    assert scored == list(range(1, total))
