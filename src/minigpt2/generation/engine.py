"""Token ids in, token ids out: prefill once, then one token a step from the cache.

It knows no text, tokenizer or file. When the learned positions run out it slides: it keeps the
last half of the window, reads it once, and goes on.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from minigpt2.generation.sampling import Sampling, sample
from minigpt2.model import GPT2Config, KVCache, LanguageModel


def decode(
    model: LanguageModel,
    prompt: list[int],
    sampling: Sampling,
    n: int = 1,
    vocab_size: int | None = None,
) -> Iterator[list[int]]:
    """Yield the next id of each of `n` continuations of `prompt`, one list a step.

    `prompt` must not be empty. Ids at or above `vocab_size` (the model's padding rows) are never
    chosen. Row i draws from a generator seeded with sampling.seed + i, whatever n is.
    """
    device = next(model.parameters()).device
    generators = [torch.Generator(device).manual_seed(sampling.seed + row) for row in range(n)]
    context = torch.tensor([prompt] * n, device=device)
    reader = _Reader(model, n)
    for _ in range(sampling.max_new_tokens):
        with torch.inference_mode():
            logits_BV = reader.read(context)
            ids_B = sample(logits_BV[:, :vocab_size], sampling, generators)
            context = torch.cat([context, ids_B[:, None]], dim=1)
        yield ids_B.tolist()


class _Reader:
    """Gives the logits after a growing context, reading only what it has not read yet."""

    def __init__(self, model: LanguageModel, n: int) -> None:
        self._model, self._n = model, n
        self._block_size: int = model.config.block_size
        self._cache: KVCache | None = None
        self._seen = 0  # tokens of the context read so far

    def read(self, context: Tensor) -> Tensor:
        config = self._model.config
        if not isinstance(config, GPT2Config):  # no cache: the window is read anew each time
            return self._model(context[:, -self._block_size :])[:, -1]
        new = context[:, self._seen :]
        if self._cache is None or self._cache.length + new.shape[1] > self._block_size:
            parameter = next(self._model.parameters())
            self._cache = KVCache(config, self._n, parameter.device, parameter.dtype)
            new = slide(context, self._block_size)
        self._seen = context.shape[1]
        return self._model(new, cache=self._cache)[:, -1]


def slide(context: Tensor, block_size: int) -> Tensor:
    """Return the part of (B, T) tokens to read: all that fit, else the last half window."""
    fits = context.shape[1] <= block_size
    return context if fits else context[:, -max(1, block_size // 2) :]
