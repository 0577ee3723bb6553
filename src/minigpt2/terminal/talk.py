"""What has been said so far, and what of it the model is to read next.

A model trained on conversations reads a transcript, laid out as in its training; any other model
reads one text, to which each prompt adds a paragraph.
"""

import json
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from minigpt2.errors import DataError, StorageError
from minigpt2.files import read_json, replace_file
from minigpt2.generation import prompt_ids
from minigpt2.sampling import Sampling
from minigpt2.tokenizers import NEXT_TURN, Tokenizer, converses, transcript

_FORMAT = "minigpt2-chat"


@dataclass
class Turn:
    """A prompt, and what the model made of it."""

    prompt: str
    answer: str = ""


@dataclass
class Talk:
    """The turns so far; the last one may still be answered, or its answer go on."""

    turns: list[Turn] = field(default_factory=list)

    def ids(self, tokenizer: Tokenizer, window: int) -> list[int]:
        """Return what the model is to read now.

        Of a conversation the oldest turns are left out until half of the window is free.
        """
        if not converses(tokenizer):
            return prompt_ids(tokenizer, self._as_text())
        turns = list(self.turns)
        while True:
            ids = tokenizer.encode(_as_transcript(turns))
            if len(turns) == 1 or len(ids) <= window // 2:
                return ids
            del turns[0]

    def _as_text(self) -> str:
        text = ""
        for turn in self.turns:
            gap = "" if not text or text.endswith("\n\n") else "\n" if text[-1] == "\n" else "\n\n"
            text += gap + turn.prompt + turn.answer
        return text

    def save(self, path: Path, sampling: Sampling, model: str) -> None:
        """Write the talk and its settings; raise StorageError rather than replace another file."""
        if path.exists() and not _is_talk(path):
            raise StorageError(f"{path} is another file; choose another name")
        record = {"format": _FORMAT, "model": model, "sampling": asdict(sampling), **asdict(self)}
        text = json.dumps(record, indent=1, ensure_ascii=False) + "\n"
        replace_file(path, text.encode("utf-8", "replace"))

    def load(self, path: Path) -> Sampling:
        """Go on with a saved talk; return its settings. Raises DataError for another file."""
        record = read_json(path)
        if record.get("format") != _FORMAT:
            raise DataError(f"{path} is no saved chat")
        try:
            values = {key: _tuples(value) for key, value in record["sampling"].items()}
            turns = [Turn(str(turn["prompt"]), str(turn["answer"])) for turn in record["turns"]]
            sampling = Sampling(**values)
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise DataError(f"{path} is damaged: {error}") from None
        self.turns = turns
        return sampling


def stopping(sampling: Sampling, tokenizer: Tokenizer) -> Sampling:
    """Return the settings with the stop that a conversation needs: the other one's turn."""
    stop = (*sampling.stop, NEXT_TURN) if converses(tokenizer) else sampling.stop
    return replace(sampling, stop=stop)


def _as_transcript(turns: list[Turn]) -> str:
    messages = []
    for turn in turns:
        messages.append({"role": "user", "content": turn.prompt})
        messages.append({"role": "assistant", "content": turn.answer})
    begun = messages.pop()["content"]  # of the last turn: the model goes on behind it
    return transcript(messages) + (f" {begun}" if begun else "")


def _is_talk(path: Path) -> bool:
    try:
        return read_json(path).get("format") == _FORMAT
    except DataError:
        return False


def _tuples(value: Any) -> Any:
    return tuple(map(_tuples, value)) if isinstance(value, list) else value
