"""Batches of documents: every token once, padding and masks change nothing, prompts stay out."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minigpt2.data import Recipe, prepare
from minigpt2.data.batches import (
    IGNORED,
    Batches,
    DocumentRows,
    restart_at,
    rows_as_batch,
)
from minigpt2.errors import DataError
from minigpt2.model import ATTENTION, GPT2, GPT2Config, set_attention

END = 0


class Index:
    def __init__(self, starts, targets, total):
        self._table = np.array(starts), np.array(targets), np.array([*starts[1:], total])

    def __len__(self):
        return len(self._table[0])

    def read(self, start, stop):
        return tuple(column[start:stop] for column in self._table)


class Stream:
    """Documents of given lengths, ids 1, 2, 3, ..., each followed by END."""

    def __init__(self, lengths, prompts=None):
        self.ids, starts, targets = [], [], []
        for place, length in enumerate(lengths):
            starts.append(len(self.ids))
            targets.append(len(self.ids) + (prompts[place] if prompts else 0))
            self.ids += [*range(1, length + 1), END]
        self.documents = Index(starts, targets, len(self.ids))

    def __len__(self):
        return len(self.ids)

    def read(self, start, stop):
        return np.array(self.ids[start:stop], dtype=np.int64)


LENGTHS = st.lists(st.integers(0, 30), min_size=2, max_size=40)


@given(LENGTHS, st.integers(1, 13))
def test_rows_hold_every_token_but_the_first_once(lengths, length):
    rows = DocumentRows(Stream(lengths), length)
    targets = [place for start, stop, first in rows for place in range(first, stop)]
    assert sorted(targets) == list(range(1, sum(lengths) + len(lengths)))
    assert all(stop - start - 1 <= length for start, stop, _ in rows)


@given(LENGTHS, st.integers(1, 13), st.data())
def test_prompts_are_fed_and_never_scored(lengths, length, data):
    prompts = [data.draw(st.integers(0, n)) for n in lengths]
    stream = Stream(lengths, prompts)
    targets = {p for start, stop, first in DocumentRows(stream, length) for p in range(first, stop)}
    starts, firsts, ends = stream.documents.read(0, len(lengths))
    wanted = {p for f, e in zip(firsts, ends, strict=True) for p in range(max(f, 1), e)}
    assert targets == wanted
    # Where a window holds the whole document, its answer has its whole prompt in front of it.
    fed_from = {first: start for start, _, first in DocumentRows(stream, 99)}
    for start, first, end in zip(starts, firsts, ends, strict=True):
        if max(first, 1) < end:
            alone = first == start  # without a prompt the separator begins the row
            assert fed_from[max(first, 1)] == (max(start - 1, 0) if alone else start)


@settings(max_examples=40)
@given(LENGTHS, st.integers(1, 7), st.integers(1, 11), st.integers(0, 5))
def test_every_row_is_served_once_an_epoch_in_an_order_no_world_changes(
    lengths, batch, length, seed
):
    batches = Batches(Stream(lengths), batch, length, seed, documents=True)
    count = len(batches.rows)
    for epoch in range(2):
        served = [batches.window(n) for n in range(epoch * count, (epoch + 1) * count)]
        assert sorted(served) == sorted(batches.rows)
    again = Batches(Stream(lengths), batch, length, seed, documents=True)
    for step in range(batches.steps(1)):
        whole = again.batch(step)
        for world in (1, 2, 4):
            parts = [batches.batch(step, rank, world) for rank in range(world)]
            rows = [row[row != IGNORED].tolist() for _, t in parts for row in t]
            assert rows == [row[row != IGNORED].tolist() for row in whole[1]]


def test_a_step_is_the_same_whenever_it_is_asked_for():
    stream = Stream([3, 5, 8, 1, 4] * 300)
    forward, random_access = (Batches(stream, 5, 7, 1, documents=True) for _ in range(2))
    inputs = [forward.batch(step)[0] for step in range(700)]
    for step in (699, 3, 350, 0):
        assert torch.equal(random_access.batch(step)[0], inputs[step])
    assert not torch.equal(inputs[0], Batches(stream, 5, 7, 2, documents=True).batch(0)[0])


def test_near_lengths_share_a_batch():
    lengths = np.random.default_rng(1).integers(1, 200, 5000).tolist()
    batches = Batches(Stream(lengths), 16, 256, 1, documents=True)
    tokens = padding = 0
    for step in range(batches.steps(1) - 1):
        _, targets = batches.batch(step)
        tokens += int((targets != IGNORED).sum())
        padding += int((targets == IGNORED).sum())
    assert padding < 0.1 * tokens  # drawn at random, two thirds as much again would be padding


def test_a_split_without_targets_is_told():
    with pytest.raises(DataError, match="nothing to predict"):
        Batches(Stream([0]), 1, 5, 0, documents=True)


def model_for(stream, attention="explicit"):
    torch.manual_seed(3)
    model = GPT2(GPT2Config(max(stream.ids) + 1, 64, 2, 3, 21)).double()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    set_attention(model, ATTENTION[attention])
    return model


def gradients(model, loss):
    model.zero_grad()
    loss.backward()
    return torch.cat([parameter.grad.flatten() for parameter in model.parameters()])


def test_padding_changes_neither_loss_nor_gradients():
    stream = Stream([2, 11, 5, 1, 7], [0, 4, 0, 0, 3])
    model, rows = model_for(stream), list(DocumentRows(stream, 64))
    padded = model(*rows_as_batch(stream.read, rows))
    single = [rows_as_batch(stream.read, [row]) for row in rows]
    counts = [int((targets != IGNORED).sum()) for _, targets in single]
    alone = sum(model(*pair) * n for pair, n in zip(single, counts, strict=True)) / sum(counts)
    torch.testing.assert_close(padded, alone)
    torch.testing.assert_close(gradients(model, padded), gradients(model, alone))


@pytest.mark.parametrize("attention", ATTENTION)
def test_masked_documents_are_read_as_if_each_stood_alone(attention):
    """Packed behind the mask, or one a row: the same loss and the same gradients."""
    stream = Stream([2, 11, 5, 1, 7, 3])
    model = model_for(stream, attention)
    if attention == "fused-fp32":
        model = model.float()
    # Begin with a separator, as every document but a stream's first has one before it.
    ids = torch.tensor([END, *stream.ids])[None]
    packed = model(ids[:, :-1], ids[:, 1:], **restart_at(ids[:, :-1], END))
    loss, count = 0.0, 0
    for row in DocumentRows(stream, 64):
        tokens = torch.tensor([END, *stream.ids])[None, row[0] + 1 : row[1] + 1]
        if row[0] == 0:
            tokens = torch.tensor([END, *stream.ids])[None, : row[1] + 1]
        n = tokens.shape[1] - 1
        loss, count = loss + model(tokens[:, :-1], tokens[:, 1:]) * n, count + n
    torch.testing.assert_close(packed, loss / count)
    torch.testing.assert_close(gradients(model, packed), gradients(model, loss / count))


def test_no_gradient_crosses_a_border():
    tokens = torch.tensor([[3, 1, END, 2, 4, END, 5, 6]])
    model = model_for(Stream([6]))
    inputs = restart_at(tokens, END)
    assert inputs["positions"].tolist() == [[0, 1, 0, 1, 2, 0, 1, 2]]
    embedded = model.wte(tokens).detach().requires_grad_()
    model.wte.forward = lambda _: embedded
    model(tokens, **inputs)[0, 4].sum().backward()
    assert embedded.grad[0].abs().sum(-1).bool().tolist() == [False] * 2 + [True] * 3 + [False] * 3


@settings(max_examples=30)
@given(st.integers(9, 400), st.integers(1, 9), st.sampled_from([1, 2, 4]))
def test_packed_targets_are_each_seen_once_an_epoch_in_any_world(total, batch, world):
    class Counting:
        def __len__(self):
            return total

        def read(self, start, stop):
            return np.arange(start, stop)

    batches = Batches(Counting(), batch, 8, seed=3)
    first, last = batches.samples(1), batches.samples(2)
    rows = (batches.window(sample) for sample in range(first, last))
    seen = [target for _, stop, first in rows for target in range(first, stop)]
    assert sorted(seen) == list(range(1, total))
    whole = [batches.batch(step)[1] for step in range(5)]
    for step, targets in enumerate(whole):
        parts = [batches.batch(step, rank, world)[1] for rank in range(world)]
        assert torch.equal(torch.cat(parts), targets)


def test_prepared_prompts_reach_the_batches(tmp_path):
    lines = [f'{{"prompt": "question {i} ", "answer": "answer {i}"}}\n' for i in range(40)]
    (tmp_path / "qa.jsonl").write_text("".join(lines), encoding="utf-8")
    data = prepare([str(tmp_path / "qa.jsonl")], tmp_path / "d", Recipe(tokenizer="byte"))
    assert data.separator == 256 and data.manifest["splits"]["train"]["documents"] < 40
    batches = Batches(data.train, 4, 64, 0, documents=True)
    for step in range(batches.steps(1)):
        for tokens, targets in zip(*batches.batch(step), strict=True):
            fed = data.tokenizer.decode(tokens.tolist())
            learnt = data.tokenizer.decode(targets[targets != IGNORED].tolist())
            assert learnt.startswith("answer ") and learnt.endswith("<|endoftext|>")
            assert "question" in fed
