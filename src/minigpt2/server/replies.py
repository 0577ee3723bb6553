"""Pieces of text as choices: of a completion or of a chat, whole or in the chunks of a stream.

A choice is made of pieces: of all of a sample's, or of those that a chunk adds. What must be known
from chunk to chunk (what comes first, where the text stands) is a `Completion` or a `Chat`.
"""

import math
import secrets
import time
from collections.abc import Sequence
from typing import Any

from minigpt2.generation import Piece, Request, Token
from minigpt2.tokenizers import IncrementalDecoder, Tokenizer

_LEAST = -9999.0  # stands for minus infinity, which JSON does not have


class Completion:
    """A sample as far as it has been told; `logprobs` says whether log-probabilities are.

    `echo` is the prompt, if it is to come first; `first_id` its first token, if it is scored.
    """

    prefix, whole, chunk = "cmpl-", "text_completion", "text_completion"

    def __init__(
        self, tokenizer: Tokenizer, logprobs: bool, echo: str = "", first_id: int | None = None
    ) -> None:
        self.logprobs, self._echo, self._offset = logprobs, echo, 0
        # Nothing stands before the first token that it could follow.
        self._unsaid = [] if first_id is None else [Token(0, 0, first_id)]
        self._tokenizer, self._decoder = tokenizer, IncrementalDecoder(tokenizer)

    def tell(self, pieces: Sequence[Piece], streamed: bool) -> dict[str, Any]:
        """Return what the pieces amount to."""
        text, self._echo = self._echo + joined(pieces), ""
        return {"text": text, "logprobs": self._told(pieces) if self.logprobs else None}

    def _told(self, pieces: Sequence[Piece]) -> dict[str, list[Any]]:
        """Return log-probabilities in the legacy shape: lists with an entry for every token.

        They are the model's own, in nats, before temperature and all else. `text_offset` counts
        characters from the beginning of the choice's text.
        """
        names, logprobs, tops, offsets = [], [], [], []
        tokens, self._unsaid = self._unsaid, []
        for piece in pieces:
            tokens += [*piece.scored, *([piece.token] if piece.token else [])]
        for token in tokens:
            name, logprob = self._named(token.id, token.logprob)
            # The likelier one keeps its place where two tokens have one text.
            likeliest = [self._named(*pair) for pair in reversed(token.top)]
            names.append(name)
            logprobs.append(logprob)
            tops.append(None if logprob is None else dict([(name, logprob), *likeliest]))
            before = self._offset
            self._offset += len(self._decoder.feed(token.id))
            # What it adds may begin with U+FFFD for a character that was broken off before it.
            offsets.append(max(before, self._offset - len(name)))
        told = {"tokens": names, "token_logprobs": logprobs, "top_logprobs": tops}
        return {**told, "text_offset": offsets}

    def _named(self, token_id: int, logprob: float | None) -> tuple[str, float | None]:
        """Return a token's text, a name of its own, and its log-probability as JSON can tell it."""
        return spelt(self._tokenizer, token_id), _LEAST if logprob == -math.inf else logprob


def spelt(tokenizer: Tokenizer, token_id: int) -> str:
    """Return a token's text; bytes that are no text alone are written out."""
    plain = tokenizer.decode_bytes([token_id])
    try:
        return plain.decode()
    except UnicodeDecodeError:
        return "bytes:" + "".join(f"\\x{byte:02x}" for byte in plain)


class Chat:
    """A message of a conversation, as far as it has been told."""

    prefix, whole, chunk = "chatcmpl-", "chat.completion", "chat.completion.chunk"
    logprobs = False

    def __init__(self) -> None:
        self._begun, self._spoken = False, False  # anything but blanks

    def tell(self, pieces: Sequence[Piece], streamed: bool) -> dict[str, Any]:
        """Return what the pieces amount to."""
        text = joined(pieces)
        if not self._spoken:  # the blank behind "Assistant:"
            text = text.lstrip()
            self._spoken = bool(text)
        who = {} if self._begun else {"role": "assistant"}
        self._begun = True
        return {"delta" if streamed else "message": {**who, "content": text}}


Sample = Completion | Chat


def joined(pieces: Sequence[Piece]) -> str:
    """Return the text of pieces."""
    return "".join(piece.text for piece in pieces)


def choice(
    index: int, sample: Sample, pieces: Sequence[Piece], streamed: bool = False
) -> dict[str, Any]:
    """Return a choice: which it is, how it ended, what it says, and `context` if that was cut."""
    last = pieces[-1]
    fields = {"index": index, "finish_reason": last.ended, **sample.tell(pieces, streamed)}
    if last.cut or last.slides:
        fields["context"] = {"prompt_tokens_left_out": last.cut, "window_slides": last.slides}
    return fields


def likelihood(pieces: Sequence[Piece]) -> float:
    """Return the mean log-probability of a sample's tokens, by which the best is chosen."""
    values = [piece.token.logprob or 0.0 for piece in pieces if piece.token]
    return sum(values) / len(values) if values else -math.inf


def new_reply(sample: Sample, model: str, streamed: bool) -> dict[str, Any]:
    """Return a reply without choices, of a new id: a completion, whole or a chunk of a stream."""
    name, number = sample.chunk if streamed else sample.whole, secrets.token_hex(12)
    reply = {"id": sample.prefix + number, "object": name, "created": int(time.time())}
    return {**reply, "model": model, "choices": []}


def usage(requests: Sequence[Request], written: int) -> dict[str, int]:
    """Return what was read and written, in tokens."""
    read = sum(len(request.ids) for request in requests)
    return {"prompt_tokens": read, "completion_tokens": written, "total_tokens": read + written}
