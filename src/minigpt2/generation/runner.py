"""Reads tokens with the model, several rows at a time, each as long as it is.

A slot is a row of the cache; `read` holds the ids whose keys and values lie there, from position 0
on. Rows of different lengths share one pass and none is padded: a row just does not look beyond
its own end. What a slot has read stays when its row is done, so that a row which begins alike
begins where the two part: the next turn of a conversation, another sample of the same prompt.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from minigpt2.model import GPT2, KVCache, LanguageModel

_CHUNK = 512  # tokens of a prompt read in one pass: products are large then, memory is bounded


class CachedRunner:
    """Runs a GPT-2 over a preallocated cache of `slots` rows of `size` positions."""

    def __init__(self, model: GPT2, slots: int, size: int) -> None:
        weight = model.wpe.weight
        # As it was written: a compiled model would be compiled anew for every length.
        self._forward, self._device = model.forward, weight.device
        self._cache = KVCache(model.config, slots, weight.device, weight.dtype, size)
        self._rows = _Rows(self._cache, 0, 1)
        self.read: list[list[int]] = [[] for _ in range(slots)]

    def prefill(self, slot: int, ids: list[int]) -> None:
        """Let the slot have read exactly `ids`: what any slot knows of it is copied."""
        known = [_common(ids, read) for read in self.read]
        source = max(range(len(known)), key=known.__getitem__)
        start = max(known[source], known[slot])
        self.read[slot] = []  # until all is read: an error on the way leaves nothing half
        if start > known[slot]:
            for part in (*self._cache.k, *self._cache.v):
                part[slot, :, :start] = part[source, :, :start]
        for _ in self._read(slot, ids, start, last=0):
            pass

    def score(self, slot: int, ids: list[int]) -> Iterator[Tensor]:
        """As `prefill`, but all is read anew; yield the logits behind every id, parts (T, V)."""
        self.read[slot] = []
        return self._read(slot, ids, 0, last=None)

    def _read(self, slot: int, ids: list[int], start: int, last: int | None) -> Iterator[Tensor]:
        row = _Rows(self._cache, slot, 1)
        for place in range(start, len(ids), _CHUNK):
            row.length = place
            part = torch.tensor([ids[place : place + _CHUNK]], device=self._device)
            yield self._forward(part, cache=row, last=last)[0]
        self.read[slot] = list(ids)

    def decode(self, ids: list[int]) -> Tensor:
        """Let slots 0, 1, ... read one more id each; return the logits behind it, (B, V)."""
        if self._rows.count != len(ids):
            self._rows = _Rows(self._cache, 0, len(ids))
        where: dict[str, Any] = self._rows.aim([len(read) for read in self.read[: len(ids)]])
        tokens_B1 = torch.tensor(ids, device=self._device)[:, None]
        logits_BV = self._forward(tokens_B1, cache=self._rows, **where)[:, 0]
        for read, token_id in zip(self.read, ids, strict=False):
            read.append(token_id)
        return logits_BV


class _Rows(KVCache):
    """Some neighbouring rows of a cache, as a cache: `length` is that of the longest."""

    def __init__(self, cache: KVCache, first: int, count: int) -> None:
        self.k = [k[first : first + count] for k in cache.k]
        self.v = [v[first : first + count] for v in cache.v]
        self.count, self.length = count, 0
        self._numbers = torch.arange(count, device=self.k[0].device)
        self._places: Tensor | None = None  # of the new tokens, where they differ

    def aim(self, lengths: list[int]) -> dict[str, Tensor]:
        """Get ready for one more token in rows of these lengths; return how to ask the model."""
        self.length, self._places = max(lengths), None
        if min(lengths) == self.length:
            return {}
        self._places = torch.tensor(lengths, device=self._numbers.device)
        positions = torch.arange(self.length + 1, device=self._numbers.device)
        mask = positions <= self._places[:, None]
        return {"positions": self._places[:, None], "mask": mask[:, None, None]}

    def extend(self, layer: int, k_BHTD: Tensor, v_BHTD: Tensor) -> tuple[Tensor, Tensor]:
        """Write each row's new token at its own place; return the used prefix of all."""
        if self._places is None:
            return super().extend(layer, k_BHTD, v_BHTD)
        k, v = self.k[layer], self.v[layer]
        k[self._numbers, :, self._places] = k_BHTD[:, :, 0]
        v[self._numbers, :, self._places] = v_BHTD[:, :, 0]
        return k[:, :, : self.length + 1], v[:, :, : self.length + 1]


class Rereader:
    """Runs any other model, which has no cache to keep: a row is read anew for each token."""

    def __init__(self, model: LanguageModel, slots: int) -> None:
        self._model, self._device = model, next(model.parameters()).device
        self.read: list[list[int]] = [[] for _ in range(slots)]

    def prefill(self, slot: int, ids: list[int]) -> None:
        """Let the slot have read exactly `ids`."""
        self.read[slot] = list(ids)

    def score(self, slot: int, ids: list[int]) -> Iterator[Tensor]:
        """As `prefill`; yield the logits behind every id, (T, V)."""
        self.prefill(slot, ids)
        yield self._model(torch.tensor([ids], device=self._device))[0]

    def decode(self, ids: list[int]) -> Tensor:
        """Let slots 0, 1, ... read one more id each; return the logits behind it, (B, V)."""
        rows = zip(self.read, ids, strict=False)
        self.read[: len(ids)] = [[*read, token_id] for read, token_id in rows]
        windows = (torch.tensor([read], device=self._device) for read in self.read[: len(ids)])
        return torch.cat([self._model(window)[:, -1] for window in windows])


Runner = CachedRunner | Rereader


def _common(ids: list[int], read: list[int]) -> int:
    """Return how many ids two lists begin with alike.

    >>> _common([1, 2, 3], [1, 2, 4, 5])
    2
    """
    pairs = enumerate(zip(ids, read, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(ids), len(read)))
