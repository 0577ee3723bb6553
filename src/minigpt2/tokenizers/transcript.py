"""Conversations as plain text: who speaks, a colon, what is said; a line to each turn.

    User: What is the sea?
    Assistant: Salt water, mostly.
    User: And the rest?
    Assistant:

There are no special tokens in it, so any tokenizer can say it; what the model adds after the last
line, up to the end of the text, is its answer.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from minigpt2.tokenizers.protocol import Tokenizer

Messages = Sequence[Mapping[str, str]]

ROLES = ("system", "user", "assistant")
# Where an answer ends if the model goes on by itself: the next turn begins.
NEXT_TURN = "\nUser:"
# The same as a Jinja template: what `transformers` and servers read in tokenizer_config.json.
TRANSCRIPT = Path(__file__).with_suffix(".jinja").read_text(encoding="utf-8").rstrip("\n")


def transcript(messages: Messages) -> str:
    """Return the conversation up to where the assistant is to speak.

    >>> transcript([{"role": "user", "content": "Why? "}])
    'User: Why?\\nAssistant:'
    """
    lines = (f"{m['role'].capitalize()}: {m['content'].strip()}\n" for m in messages)
    return "".join(lines) + "Assistant:"


def converses(tokenizer: Tokenizer) -> bool:
    """Say whether a model with this tokenizer was trained on conversations laid out as these."""
    return tokenizer.chat_template == TRANSCRIPT


def answers(messages: Messages) -> Iterator[tuple[str, str]]:
    """Yield, for each time the assistant speaks, (what stands before, the answer).

    >>> list(answers([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]))
    [('User: a\\nAssistant:', ' b')]
    """
    for number, message in enumerate(messages):
        if message["role"] == "assistant":
            yield transcript(messages[:number]), " " + message["content"].strip()
