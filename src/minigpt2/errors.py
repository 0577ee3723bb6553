"""What can go wrong for a user, and the exit code each kind ends with.

A message is one line: what happened, where, the value, and the remedy. Faults of our own code
stay ordinary exceptions.
"""

from importlib import import_module
from typing import Any


def is_out_of_memory(error: BaseException) -> bool:
    """Say whether torch or Python could not get the memory they asked for."""
    words = ("allocate memory", "out of memory", "enforce fail at alloc")
    return isinstance(error, MemoryError) or any(word in str(error) for word in words)


class MiniGPT2Error(Exception):
    """Failed at run time (exit code 1); the base of every error meant for a user."""

    exit_code = 1


class UsageError(MiniGPT2Error):
    """A command line or configuration that cannot be meant (2)."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration with mistakes (2): `problems` holds one line for each of them."""

    def __init__(self, problems: list[str]) -> None:
        self.problems = problems
        super().__init__("\n".join(problems))


class DataError(MiniGPT2Error):
    """Text, shard, tokenizer or checkpoint that is damaged or does not fit (65)."""

    exit_code = 65


class InputMissingError(MiniGPT2Error):
    """A file, folder or run that is not there (66)."""

    exit_code = 66


class UnavailableError(MiniGPT2Error):
    """A device or an optional package this machine does not have (69)."""

    exit_code = 69


class StorageError(MiniGPT2Error):
    """The disk is full or refuses (74)."""

    exit_code = 74


def optional_library(name: str, extra: str, needed: str) -> Any:
    """Import a library of an extra; without it raise UnavailableError, saying what it is `needed`
    for."""
    try:
        return import_module(name)
    except ImportError:
        raise UnavailableError(f'{needed}: pip install "minigpt2[{extra}]"') from None
