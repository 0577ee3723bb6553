"""What is searched: configuration keys, each with a list or a range of values, as one text each.

    model.n-layer=2,4,6    training.learning-rate=log(1e-4,1e-2)    model.dropout=uniform(0,0.3)

It knows the configuration's schema and nothing of runs or samplers.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any, Literal

from minigpt2 import config as schema
from minigpt2.errors import ConfigError
from minigpt2.settings import nearest_key

# What cannot be searched, and why.
_TAKEN = {
    "training.seed": "every trial runs with each of --seeds seeds",
    "logging.model_save_path": "the place of a sweep is given by --out",
    "training.device": "trials run on one device; make a sweep for each",
    "model.init": "losses of models with other tokens cannot be compared; make a sweep for each",
    "data": "losses over other data or tokens cannot be compared; leave data.* alone",
}


@dataclass(frozen=True)
class Dimension:
    """One key and its values: those listed in `choices`, or any from `low` to `high`."""

    key: str
    choices: tuple[Any, ...] = ()
    low: float = 0
    high: float = 0
    scale: Literal["listed", "uniform", "log"] = "listed"


def parse_space(texts: Sequence[str], grid: bool = False) -> list[Dimension]:
    """Return the dimensions that `texts` describe; raise ConfigError with every mistake.

    A `grid` cannot walk a range.
    """
    problems: list[str] = []
    space: list[Dimension] = []
    if not texts:
        problems.append("nothing to search: --search training.learning-rate=1e-3,3e-3")
    for text in texts:
        try:
            space.append(_dimension(text))
        except ValueError as error:
            problems.append(f"--search {text!r}: {error}")
    keys = [dimension.key for dimension in space]
    problems += [f"--search: {key} stands twice" for key in set(keys) if keys.count(key) > 1]
    if set(schema.LENGTH_KEYS) <= set(keys):
        told = " and ".join(schema.LENGTH_KEYS)
        problems.append(f"--search: only one of {told} can be searched")
    ranges = [dimension.key for dimension in space if dimension.scale != "listed"]
    problems += [f"a grid needs listed values, as in {key}=a,b,c" for key in ranges if grid]
    if problems:
        raise ConfigError(problems)
    return space


def cells(space: list[Dimension]) -> list[dict[str, Any]]:
    """Return every combination of listed values; the last key changes fastest.

    >>> cells([Dimension("a", (1, 2)), Dimension("b", (3,))])
    [{'a': 1, 'b': 3}, {'a': 2, 'b': 3}]
    """
    keys = [dimension.key for dimension in space]
    combinations = product(*(dimension.choices for dimension in space))
    return [dict(zip(keys, values, strict=True)) for values in combinations]


def _dimension(text: str) -> Dimension:
    name, equals, values = (part.strip() for part in text.partition("="))
    key = name.replace("-", "_")
    if not equals or not values:
        raise ValueError("needs KEY=VALUES, as in model.n-layer=2,4,6")
    if key not in dict(schema.options()):
        raise ValueError(f"unknown key {name}{nearest_key(key)}")
    if why := _TAKEN.get("data" if key.startswith("data.") else key):
        raise ValueError(why)
    ranged = re.fullmatch(r"(\w+)\((.*)\)", values)
    return _range(key, ranged[1], ranged[2]) if ranged else _listed(key, values)


def _listed(key: str, values: str) -> Dimension:
    try:
        choices = tuple(_value(key, part) for part in values.split(","))
    except ValueError as error:
        raise ValueError(f"{error}; ranges are log(low,high) and uniform(low,high)") from None
    if len(set(choices)) < len(choices):
        raise ValueError("a value stands twice")
    return Dimension(key, choices)


def _range(key: str, scale: Any, bounds: str) -> Dimension:
    if scale not in ("log", "uniform"):
        raise ValueError(f"no range {scale}(...); there are log(low,high) and uniform(low,high)")
    if schema.hint(key) not in (int, float):
        raise ValueError(f"a range needs numbers; list the values of {key}")
    parts = bounds.split(",")
    if len(parts) != 2:
        raise ValueError(f"needs two bounds, as in {scale}(1,10)")
    low, high = (_value(key, part) for part in parts)
    if low is None or high is None or not low < high:
        raise ValueError(f"the lower bound must be below the upper, not {bounds}")
    if scale == "log" and low <= 0:
        raise ValueError(f"a log range begins above 0, not at {low}")
    return Dimension(key, (), low, high, scale)


def _value(key: str, text: str) -> Any:
    if not text.strip():
        raise ValueError("a value is empty")
    return schema.coerce(key, text.strip())
