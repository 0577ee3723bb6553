"""Flags from the configuration schema: one for every key, none kept by hand."""

import inspect
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any

from cyclopts import Group, Parameter

from minigpt2 import config as schema

COMMON = schema.marked("common")
EVERY = frozenset(key for key, _ in schema.options())


def with_config_flags(
    function: Callable[..., int],
    shown: frozenset[str] = COMMON,
    defaults: Mapping[str, str] | None = None,
) -> Callable[..., int]:
    """Return `function` with its `**flags` spelled out: a string option for each dotted key.

    The values reach it as {"section__name": text}; `settings` coerces and checks them. The help
    has the keys that are `shown`, with the schema's defaults or, where they differ, `defaults`.
    """

    def command(*args: Any, **kwargs: Any) -> int:
        return function(*args, **kwargs)

    own = inspect.signature(function).parameters.values()
    named = [item for item in own if item.kind is not inspect.Parameter.VAR_KEYWORD]
    options = _options(shown, defaults or {})
    signature = inspect.Signature([*named, *options], return_annotation=int)
    command.__doc__, command.__name__ = function.__doc__, function.__name__
    command.__signature__ = signature  # type: ignore[attr-defined]
    command.__annotations__ = {item.name: item.annotation for item in signature.parameters.values()}
    return command


def say(line: str) -> None:
    """Tell a person something about the work: standard output is for its result."""
    print(line, file=sys.stderr)


def dotted(flags: dict[str, str | None]) -> dict[str, str]:
    """Return the flags that were given, under their dotted keys.

    >>> dotted({"model__n_layer": "6", "data__tokenizer": None})
    {'model.n_layer': '6'}
    """
    return {name.replace("__", ".", 1): value for name, value in flags.items() if value is not None}


_METAVARS = {int: "INT", float: "FLOAT", bool: "BOOL"}


def _help_lines(section: type) -> dict[str, str]:
    """Return what the docstring of a section says of each of its keys."""
    parts = re.findall(r"^(\w+)\n((?: .+\n?)+)", inspect.getdoc(section) or "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in parts}


def _options(shown: frozenset[str], defaults: Mapping[str, str]) -> Iterator[inspect.Parameter]:
    told = {section: _help_lines(kind) for section, kind in schema.SECTIONS.items()}
    for key, item in schema.options():
        section, name = key.split(".", 1)
        default = "none" if item.default is None else str(item.default).lower()
        default = defaults.get(key, default)
        parameter = Parameter(
            name=f"--{section}.{name.replace('_', '-')}",
            help=f"{told[section][name]} [{default}]",
            group=Group(section.capitalize(), sort_key=list(schema.SECTIONS).index(section)),
            metavar=_METAVARS.get(schema.hint(key), "TEXT"),
            show=key in shown,
            show_default=False,
        )
        yield inspect.Parameter(
            f"{section}__{name}",
            inspect.Parameter.KEYWORD_ONLY,
            default=None,
            annotation=Annotated[str | None, parameter],
        )
