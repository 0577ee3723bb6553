"""Where a configuration comes from: defaults < preset < file < environment < flags.

`resolve` merges the sources, remembers which one each value came from, and reports every
mistake in all of them at once.
"""

import contextlib
import difflib
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from minigpt2 import config as schema
from minigpt2.errors import ConfigError, DataError, InputMissingError

ENVIRONMENT_PREFIX = "MINIGPT2_"
_PRESETS = Path(__file__).with_name("presets")
# What may not exceed what, where both are given.
_ORDERED = (
    ("training.sequence_length", "model.block_size"),
    ("training.min_learning_rate", "training.learning_rate"),
    ("training.micro_batch_size", "training.batch_size"),
)


@dataclass(frozen=True)
class Settings:
    """A resolved configuration, and for each dotted key the source that set it."""

    config: schema.Config
    sources: dict[str, str]

    def given(self) -> dict[str, Any]:
        """Return the values that somebody chose, leaving the defaults out."""
        values = schema.flatten(self.config)
        return {key: values[key] for key, source in self.sources.items() if source != "default"}

    def describe(self) -> str:
        """Write the configuration as YAML, each value with where it came from."""
        lines: list[str] = []
        for key, value in schema.flatten(self.config).items():
            section, name = key.split(".", 1)
            if f"{section}:" not in lines:
                lines.append(f"{section}:")
            pair = yaml.safe_dump({name: value}, default_flow_style=False).strip()
            lines.append(f"  {pair:<36} # {self.sources[key]}")
        return "\n".join(lines)


def presets() -> list[str]:
    """Return the names `--preset` takes."""
    return sorted(path.stem for path in _PRESETS.glob("*.yaml"))


def resolve(
    preset: str | None = None,
    config_path: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, Any] | None = None,
    base: Mapping[str, Any] | None = None,
    base_name: str = "the run's config.yaml",
) -> Settings:
    """Merge all sources into one checked configuration.

    `flags` are dotted keys; `base` replaces the defaults (a resumed run's own values, or those of
    the model that is trained further). Raises ConfigError with every problem found,
    InputMissingError for a missing file.
    """
    problems: list[str] = []
    values = schema.flatten(schema.Config())
    sources = dict.fromkeys(values, "default")
    readers: list[tuple[str, Callable[[], Mapping[str, Any]]]] = [
        (base_name, lambda: base or {}),
        (f"preset {preset}", lambda: _read_preset(preset) if preset else {}),
        (str(config_path), lambda: _read_yaml(config_path) if config_path else {}),
        ("environment", lambda: _read_environment(environment)),
        ("flag", lambda: flags or {}),
    ]
    for source, read in readers:
        try:
            layer = read()
        except ConfigError as error:
            problems += error.problems
            continue
        accepted = _coerce_layer(source, layer, problems)
        lengths = [key for key in schema.LENGTH_KEYS if accepted.get(key) is not None]
        if len(lengths) > 1:
            problems.append(f"{source}: give exactly one of {' and '.join(lengths)}")
        if lengths:
            accepted = dict.fromkeys(schema.LENGTH_KEYS) | accepted
        values |= accepted
        sources |= dict.fromkeys(accepted, source)
    if all(values[key] is None for key in schema.LENGTH_KEYS):
        values["training.max_steps"], sources["training.max_steps"] = 2000, "default"
    config = schema.build(values)
    problems += _inconsistencies(config)
    if problems:
        raise ConfigError(problems)
    return Settings(config, sources)


def stored_config(run_dir: Path) -> Settings:
    """Read a run's own config.yaml; it was written whole, so a missing key means damage."""
    path = run_dir / "config.yaml"
    try:
        settings = resolve(config_path=path, environment={})
    except ConfigError as error:
        raise DataError("; ".join(error.problems)) from None
    if missing := [key for key, source in settings.sources.items() if source == "default"]:
        raise DataError(f"{path} was altered: {missing[0]} is not in it")
    return settings


def find_value(key: str, config_path: Path | None, flags: Mapping[str, Any]) -> str | None:
    """Return what the sources say of one key, before anything else in them is checked."""
    layers: list[Mapping[str, Any]] = [flags, _read_environment(None)]
    with contextlib.suppress(ConfigError):
        layers.append(_read_yaml(config_path) if config_path else {})
    return next((str(layer[key]) for layer in layers if layer.get(key)), None)


def _coerce_layer(source: str, layer: Mapping[str, Any], problems: list[str]) -> dict[str, Any]:
    known = dict(schema.options())
    accepted: dict[str, Any] = {}
    for key, value in layer.items():
        if key in schema.SECTIONS:
            problems.append(f"{source}: section {key} needs keys below it, not {value!r}")
        elif key not in known:
            problems.append(f"{source}: unknown key {key}{nearest_key(key)}")
        else:
            try:
                accepted[key] = schema.coerce(key, value)
            except ValueError as error:
                problems.append(f"{source}: {key} {error}")
    return accepted


def nearest_key(key: str) -> str:
    """Return "; did you mean ...?" with the key that an unknown one is nearest to, or nothing."""
    known = [known for known, _ in schema.options()]
    matches = difflib.get_close_matches(key, [*known, *schema.SECTIONS], n=1)
    if not matches:  # the right name in the wrong section
        name = key.split(".")[-1]
        tails = difflib.get_close_matches(name, [k.split(".")[-1] for k in known], n=1, cutoff=0.7)
        matches = [k for k in known if tails and k.endswith("." + tails[0])]
    return f"; did you mean {matches[0]}?" if matches else ""


def _inconsistencies(config: schema.Config) -> list[str]:
    """List what is wrong between keys that are each right alone."""
    model, problems = config.model, []
    if model.kind == "gpt2" and model.n_embd % model.n_head:
        width, heads = model.n_embd, model.n_head
        problems.append(f"model.n_embd {width} must be a multiple of model.n_head {heads}")
    if config.data.tokenizer.startswith("bpe:"):
        try:
            schema.bpe_size(config.data.tokenizer)
        except ConfigError as error:
            problems += error.problems
    values = schema.flatten(config)
    for least, most in _ORDERED:
        if (values[least] or 0) > values[most]:
            problems.append(f"{least} {values[least]} exceeds {most} {values[most]}")
    if config.data.special_tokens and not model.init:
        remedy = "for a new vocabulary: minigpt2 prepare --special"
        problems.append(f"data.special_tokens needs model.init; {remedy}")
    if config.training.lora_rank and not model.init:
        problems.append("training.lora_rank needs model.init, a trained model to correct")
    return problems


def _read_preset(name: str) -> dict[str, Any]:
    if name not in presets():
        match = difflib.get_close_matches(name, presets(), n=1)
        hint = f"; did you mean {match[0]}? There are" if match else "; there are"
        raise ConfigError([f"no preset {name!r}{hint} {', '.join(presets())}"])
    return _read_yaml(_PRESETS / f"{name}.yaml")


def _read_yaml(path: Path) -> dict[str, Any]:
    remedy = "--config takes a YAML file"
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise ConfigError([f"{path} is a pipe or device, and is read more than once; {remedy}"])
    return _flatten_yaml(str(path), read_named(path, "configuration", remedy))


def read_named(path: Path, kind: str, remedy: str) -> str:
    """Return the text of a file that was named; raise InputMissingError or ConfigError."""
    if path.is_dir():
        raise ConfigError([f"{path} is a directory; {remedy}"])
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InputMissingError(f"no {kind} file {path}") from None
    except UnicodeDecodeError as error:
        raise ConfigError([f"{path}: not UTF-8 at byte {error.start}"]) from None


def _flatten_yaml(source: str, text: str) -> dict[str, Any]:
    try:
        _refuse_repeated_keys(source, yaml.compose(text, Loader=yaml.SafeLoader))
        tree = yaml.safe_load(text)
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        # An endless number, nesting without end, or a tag on what it does not fit.
        raise ConfigError([f"{source}: not a configuration: {str(error)[:80]}"]) from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError([f"{source}{where}: {getattr(error, 'problem', 'not YAML')}"]) from None
    if not isinstance(tree, dict | None):
        raise ConfigError([f"{source}: needs sections ({', '.join(schema.SECTIONS)})"])
    flat: dict[str, Any] = {}
    for section, entries in (tree or {}).items():
        if section in schema.SECTIONS and isinstance(entries, dict):
            flat.update({f"{section}.{name}": value for name, value in entries.items()})
        elif section not in schema.SECTIONS or entries is not None:
            flat[str(section)] = entries  # reported as unknown, with the nearest match
    return flat


def _refuse_repeated_keys(source: str, node: yaml.Node | None) -> None:
    """YAML would let the last of two equal keys win in silence."""
    if isinstance(node, yaml.MappingNode):
        names = [key.value for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if repeated := [name for name in names if names.count(name) > 1]:
            raise ConfigError([f"{source}: {repeated[0]} stands twice; keep one"])
        for _, value in node.value:
            _refuse_repeated_keys(source, value)


def _read_environment(environment: Mapping[str, str] | None) -> dict[str, str]:
    """Pick our variables: MINIGPT2_TRAINING_LEARNING_RATE is training.learning_rate."""
    flat = {}
    for name, value in (os.environ if environment is None else environment).items():
        section, _, key = name.removeprefix(ENVIRONMENT_PREFIX).lower().partition("_")
        ours = name.startswith(ENVIRONMENT_PREFIX)
        # A misspelt section is told, with the nearest key.
        if ours and difflib.get_close_matches(section, list(schema.SECTIONS), n=1, cutoff=0.75):
            flat[f"{section}.{key}"] = value
    return flat
