"""Pieces of text as choices: of a completion or of a chat, whole or in the chunks of a stream.

A choice is made of pieces: of all of a sample's, or of those that a chunk adds. What must be known
from chunk to chunk (where the text stands, whether it has begun) is a `Sample`.
"""

import math
import secrets
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from minigpt2.generation import Piece, Token, Top
from minigpt2.server.schema import Logprobs, Reply
from minigpt2.tokenizers import IncrementalDecoder, Tokenizer

_LEAST = -9999.0  # stands for minus infinity, which JSON does not have


class Sample:
    """One sample as far as it has been told.

    `echo` is the prompt, if it is to come first; `first_id` its first token, if it is scored.
    """

    def __init__(
        self, index: int, tokenizer: Tokenizer, echo: str = "", first_id: int | None = None
    ) -> None:
        self.index, self.echo, self.first_id = index, echo, first_id
        self.spoken = False  # anything but blanks
        self._begun, self._offset = False, 0
        self._tokenizer, self._decoder = tokenizer, IncrementalDecoder(tokenizer)

    def begin(self) -> bool:
        """Say whether nothing has been told yet; from now on something has."""
        new, self._begun = not self._begun, True
        return new

    def offset(self, token_id: int, name: str) -> int:
        """Return where the token's text begins, in characters."""
        before = self._offset
        self._offset += len(self._decoder.feed(token_id))
        # What it adds may begin with U+FFFD for a character that was broken off before it.
        return max(before, self._offset - len(name))

    def named(self, token_id: int, logprob: float | None) -> tuple[str, float | None]:
        """Return a token's text, a name of its own, and its log-probability as JSON can tell it."""
        return spelt(self._tokenizer, token_id), _LEAST if logprob == -math.inf else logprob


def spelt(tokenizer: Tokenizer, token_id: int) -> str:
    """Return a token's text; bytes that are no text alone are written out."""
    plain = tokenizer.decode_bytes([token_id])
    try:
        return plain.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in plain)


@dataclass(frozen=True)
class Completion:
    """How a completion is told; `logprobs` says whether log-probabilities are."""

    logprobs: bool
    prefix, whole, chunk = "cmpl-", "text_completion", "text_completion"

    def choice(self, sample: Sample, pieces: Sequence[Piece], streamed: bool) -> dict[str, Any]:
        """Return what the pieces amount to."""
        new = sample.begin()
        text = "".join(piece.text for piece in pieces)
        told = self._told(sample, pieces, new) if self.logprobs else None
        return {**_ending(sample, pieces), "text": sample.echo * new + text, "logprobs": told}

    def _told(self, sample: Sample, pieces: Sequence[Piece], new: bool) -> Logprobs:
        told = Logprobs([], [], [], [])
        known: list[tuple[int, float | None, Top | None]] = []
        if new and sample.first_id is not None:  # nothing stands before it that it could follow
            known.append((sample.first_id, None, None))
        known += [(token.id, token.logprob, token.top) for token in _tokens(pieces)]
        for token_id, logprob, top in known:
            one = sample.named(token_id, logprob)
            # The likelier one keeps its place where two tokens have one text.
            likeliest = [sample.named(*pair) for pair in reversed(top or ())]
            told.tokens.append(one[0])
            told.token_logprobs.append(one[1])
            told.top_logprobs.append(None if top is None else dict([one, *likeliest]))
            told.text_offset.append(sample.offset(token_id, one[0]))
        return told


@dataclass(frozen=True)
class Chat:
    """How a message of a conversation is told."""

    logprobs = False
    prefix, whole, chunk = "chatcmpl-", "chat.completion", "chat.completion.chunk"

    def choice(self, sample: Sample, pieces: Sequence[Piece], streamed: bool) -> dict[str, Any]:
        """Return what the pieces amount to."""
        text = "".join(piece.text for piece in pieces)
        if not sample.spoken:  # the blank behind "Assistant:"
            text = text.lstrip()
            sample.spoken = bool(text)
        who = {"role": "assistant"} if sample.begin() else {}
        said = {"delta" if streamed else "message": {**who, "content": text}}
        return {**_ending(sample, pieces), **said}


Form = Completion | Chat


def _tokens(pieces: Sequence[Piece]) -> Iterator[Token]:
    """Yield all tokens of the pieces, the prompt's scored ones too."""
    for piece in pieces:
        yield from piece.scored or ()
        if piece.token is not None:
            yield piece.token


def _ending(sample: Sample, pieces: Sequence[Piece]) -> dict[str, Any]:
    """Return the fields of every choice: which it is, and how it ended."""
    last = pieces[-1]
    fields: dict[str, Any] = {"index": sample.index, "finish_reason": last.ended}
    if last.cut or last.slides:
        fields["context"] = {"prompt_tokens_left_out": last.cut, "window_slides": last.slides}
    return fields


def likelihood(pieces: Sequence[Piece]) -> float:
    """Return the mean log-probability of a sample's tokens, by which the best is chosen."""
    values = [piece.token.logprob or 0.0 for piece in pieces if piece.token]
    return sum(values) / len(values) if values else -math.inf


def new_reply(form: Form, model: str, streamed: bool) -> Reply:
    """Return a reply without choices, of a new id."""
    name = form.chunk if streamed else form.whole
    return Reply(form.prefix + secrets.token_hex(12), name, int(time.time()), model, [])


def usage(prompts: Sequence[list[int]], written: int) -> dict[str, int]:
    """Return what was read and written, in tokens."""
    read = sum(map(len, prompts))
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
