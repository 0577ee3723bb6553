"""What several commands share: a flag for every key and setting, opening a model, being stopped."""

import contextlib
import inspect
import re
import signal
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Group, Parameter

from minigpt2 import config as schema
from minigpt2.errors import UsageError
from minigpt2.sampling import Sampling

if TYPE_CHECKING:
    from minigpt2.model import LanguageModel
    from minigpt2.tokenizers import Tokenizer

# Every setting of `Sampling` as a flag of its own, its help from there.
SamplingFlags = Annotated[Sampling, Parameter(name="*", group=Group("Sampling", sort_key=1))]

Verb = Callable[..., int]
COMMON = schema.marked("common")
EVERY = frozenset(key for key, _ in schema.options())


def with_config_flags(
    function: Verb, shown: frozenset[str] = COMMON, defaults: Mapping[str, str] = {}
) -> Verb:
    """Return `function` with its `**flags` spelled out: a string option for each dotted key.

    The values reach it as {"section__name": text}; `settings` coerces and checks them. The help
    has the keys that are `shown`, with the schema's defaults or, where they differ, `defaults`.
    """

    def command(*args: Any, **kwargs: Any) -> int:
        return function(*args, **kwargs)

    own = inspect.signature(function).parameters.values()
    named = [item for item in own if item.kind is not inspect.Parameter.VAR_KEYWORD]
    options = _options(shown, defaults)
    signature = inspect.Signature([*named, *options], return_annotation=int)
    command.__doc__, command.__name__ = function.__doc__, function.__name__
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {item.name: item.annotation for item in signature.parameters.values()}
    return command


def say(line: str) -> None:
    """Tell a person something about the work: standard output is for its result."""
    print(line, file=sys.stderr)


@Parameter(name="*")  # each is a flag of its own
@dataclass(frozen=True)
class Opening:
    """How a model is opened to write.

    Parameters
    ----------
    unknown
        Character that replaces those a character model does not know.
    device
        auto, cpu, cuda, cuda:N or mps.
    dtype
        Precision of the weights: bfloat16 and int8 are faster where the model is large.
    """

    unknown: str | None = None
    device: str = "auto"
    dtype: Literal["float32", "bfloat16", "int8"] = "float32"

    def open(self, model: str | None) -> "tuple[str, LanguageModel, Tokenizer]":
        """Return where MODEL was found, the model and its tokenizer."""
        from minigpt2.interop import open_model, resolve_model
        from minigpt2.model import set_precision
        from minigpt2.tokenizers import replacing_unknown
        from minigpt2.training import find_device

        target = find_device(self.device)
        folder = resolve_model(model, say)
        network, tokenizer = open_model(folder, say)
        set_precision(network.to(target), self.dtype)
        return str(folder), network, replacing_unknown(tokenizer, self.unknown)


def dotted(
    flags: dict[str, str | None], input: str | None, out: str | None, init: str | None
) -> dict[str, str]:
    """Return the flags that were given, and what has a short name, under their dotted keys.

    >>> dotted({"model__n_layer": "6", "data__tokenizer": None}, "novel.txt", None, None)
    {'model.n_layer': '6', 'data.input_file': 'novel.txt'}
    """
    if out == "":
        raise UsageError("--out is empty; name a directory")
    named = {"data.input_file": input, "logging.model_save_path": out, "model.init": init}
    given = [(name.replace("__", ".", 1), value) for name, value in flags.items()]
    return {key: value for key, value in (*given, *named.items()) if value is not None}


class StopRequest(contextlib.ExitStack):
    """Within the context SIGINT, SIGTERM and SIGHUP are remembered instead of obeyed.

    The first lets a loop finish its step and save, the second leaves at once.
    """

    signal: int | None = None

    def asked(self) -> bool:
        """Say whether a signal came."""
        return self.signal is not None

    def __enter__(self) -> "StopRequest":
        self._caught: list[int] = []
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
            number = getattr(signal, name, None)
            # A signal that is ignored already (nohup) stays ignored.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._caught.append(number)
                self.callback(signal.signal, number, signal.signal(number, self._remember))
        return self

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = int(number)
        for caught in self._caught:
            signal.signal(caught, signal.SIG_DFL)  # the second one leaves at once
        print("\nstopping after this step; once more leaves at once", file=sys.stderr)


_METAVARS = {int: "INT", float: "FLOAT", bool: "BOOL"}


def _help_lines(section: type) -> dict[str, str]:
    """Return what the docstring of a section says of each of its keys."""
    parts = re.findall(r"^(\w+)\n((?: .+\n?)+)", inspect.getdoc(section) or "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in parts}


def _options(shown: frozenset[str], defaults: Mapping[str, str]) -> Iterator[inspect.Parameter]:
    told = {section: _help_lines(form) for section, form in schema.SECTIONS.items()}
    for key, item in schema.options():
        section, name = key.split(".", 1)
        default = defaults.get(key, str(item.default).lower())
        parameter = Parameter(
            name=f"--{section}.{name.replace('_', '-')}",
            help=f"{told[section][name]} [{default}]",
            group=Group(section.capitalize(), sort_key=list(schema.SECTIONS).index(section)),
            metavar=_METAVARS.get(schema.hint(key), "TEXT"),
            show=key in shown,
            show_default=False,
        )
        kind, annotation = inspect.Parameter.KEYWORD_ONLY, Annotated[str | None, parameter]
        yield inspect.Parameter(f"{section}__{name}", kind, default=None, annotation=annotation)
