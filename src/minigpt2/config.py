"""The one configuration schema: four sections, their defaults, and what values they accept.

Standard library only, so that `--help` and every configuration error come without torch. How
preset, file, environment and flags are merged into it is `settings.py`.
"""

import contextlib
import dataclasses
import math
import types
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints


def option(
    default: Any,
    help: str,
    *,
    low: float | None = None,
    above: float | None = None,
    high: float | None = None,
    common: bool = False,
) -> Any:
    """Declare one key: its default, help line, bounds, and whether the short help shows it."""
    bounds = {"low": low, "above": above, "high": high}
    return field(default=default, metadata={"help": help, "common": common, **bounds})


@dataclass(frozen=True)
class ModelSection:
    """The model's shape."""

    kind: Literal["gpt2", "bigram"] = option("gpt2", "gpt2, or the bigram baseline")
    n_layer: int = option(4, "blocks", low=1, high=10_000, common=True)
    n_head: int = option(4, "attention heads a block", low=1, high=2**20, common=True)
    n_embd: int = option(128, "width of the residual stream", low=1, high=2**20, common=True)
    block_size: int = option(64, "longest context in tokens", low=1, high=2**24, common=True)
    vocab_size: int | None = option(
        None, "null: the tokenizer's; a larger number adds unused rows", low=1, high=2**31
    )
    dropout: float = option(0.0, "probability of dropping an activation", low=0.0, high=0.99)
    init: str | None = option(
        None, "a model to start from: run, directory or hub name; its shape is the model's"
    )


@dataclass(frozen=True)
class DataSection:
    """The text, and how it becomes token ids."""

    input_file: str = option(
        "shakespeare", "text file, folder, prepared data directory, or data set name"
    )
    tokenizer: str = option(
        "char",
        "char, byte, bpe:N, gpt2, or a directory with tokenizer.json; prepared data brings its own",
        common=True,
    )
    batching: Literal["auto", "packed", "documents"] = option(
        "auto",
        "packed: rows cut from one stream; documents: one a row; auto: documents for prompts "
        "and answers",
    )
    mask_documents: bool = option(
        False, "packed rows: no document sees another, and positions restart"
    )
    special_tokens: str | None = option(
        None, "with model.init: tokens to add, by commas, that the text contains"
    )
    val_fraction: float = option(
        0.1,
        "share held out for validation: a text's end, or that many of its documents",
        above=0.0,
        high=0.9,
    )


@dataclass(frozen=True)
class TrainingSection:
    """The optimization: its length, batch, rates, and what it runs on."""

    max_steps: int | None = option(None, "optimizer steps", low=1, high=10**12, common=True)
    num_epochs: int | None = option(
        None, "passes over the training split", low=1, high=10**5, common=True
    )
    batch_size: int = option(12, "sequences in one optimizer step", low=1, high=2**20, common=True)
    micro_batch_size: int | None = option(
        None, "sequences in memory at once; null: batch_size", low=1
    )
    sequence_length: int | None = option(
        None, "tokens a sequence; null: block_size", low=1, high=2**24
    )
    optimizer: Literal["adamw", "adam"] = option(
        "adamw", "adamw, or adam, whose decay joins the gradient"
    )
    learning_rate: float = option(1e-3, "peak learning rate", above=0.0, common=True)
    min_learning_rate: float | None = option(
        None, "learning rate at the end; null: a tenth of learning_rate", low=0.0
    )
    warmup_steps: int | None = option(
        100, "steps of linear warm-up; null: a twentieth of the run", low=0
    )
    decay_steps: int | None = option(None, "step at which the rate is lowest; null: the end", low=1)
    schedule: Literal["cosine", "linear", "wsd", "constant"] = option(
        "cosine", "shape of the learning rate after warm-up"
    )
    weight_decay: float = option(0.1, "decoupled decay of the matrices", low=0.0)
    beta1: float = option(0.9, "Adam's first moment", low=0.0, high=0.99999)
    beta2: float = option(0.99, "Adam's second moment", low=0.0, high=0.999999)
    grad_clip: float = option(1.0, "largest gradient norm; 0: no clipping", low=0.0)
    eval_interval: int | None = option(
        250, "steps between evaluations; null: a twentieth of the run", low=1
    )
    patience: int | None = option(
        None, "stop after this many evaluations without a better one; null: never", low=1
    )
    seed: int = option(
        1337, "of weights, batches, dropout and samples", low=0, high=2**63 - 1, common=True
    )
    device: str = option("auto", "auto, cpu, cuda, cuda:N or mps", common=True)
    dtype: Literal["auto", "float32", "bfloat16"] = option(
        "auto", "auto measures; the weights themselves stay float32"
    )
    attention: Literal["auto", "explicit", "fused", "fused-fp32"] = option(
        "auto", "how attention is computed; auto measures"
    )
    compile: bool = option(False, "torch.compile the model")
    freeze: str | None = option(
        None, "parameters that stay as they are, by commas: wte, h.0, h.*.mlp, *.bias"
    )
    lora_rank: int | None = option(
        None, "train corrections of this rank (LoRA) and nothing else", low=1, high=65536
    )
    lora_alpha: float | None = option(
        None, "the corrections count by alpha / rank; null: twice the rank", above=0.0
    )
    lora_dropout: float = option(0.0, "dropout before the corrections", low=0.0, high=0.99)
    lora_targets: str = option(
        "c_attn,c_proj,c_fc", "linear layers that get corrections, by commas"
    )
    activation_checkpointing: int | None = option(
        None, "recompute every k-th block in the backward pass: slower, and less memory", low=1
    )
    threads: int | None = option(None, "CPU threads; null: one a core", low=1, high=4096)


@dataclass(frozen=True)
class LoggingSection:
    """What is written down, how often, and where."""

    log_interval: int = option(10, "steps between lines of metrics.jsonl", low=1)
    save_interval: int = option(500, "steps between checkpoints", low=1)
    sample_interval: int | None = option(500, "steps between samples; null: none", low=1)
    keep_last: int = option(2, "checkpoints kept, the best one aside", low=1)
    model_save_path: str | None = option(None, "the run directory; --out for short")


@dataclass(frozen=True)
class Config:
    """Everything a run is told; `minigpt2 train --print-config` shows one."""

    model: ModelSection = field(default_factory=ModelSection)
    data: DataSection = field(default_factory=DataSection)
    training: TrainingSection = field(default_factory=TrainingSection)
    logging: LoggingSection = field(default_factory=LoggingSection)

    @property
    def by_document(self) -> bool:
        """Whether each document is a row of its own."""
        return self.data.batching == "documents"

    @property
    def masks_documents(self) -> bool:
        """Whether attention and positions restart within a row; a bigram sees one token anyway."""
        return self.data.mask_documents and not self.by_document and self.model.kind == "gpt2"

    @property
    def sequence_length(self) -> int:
        """Tokens a training sequence: the configured number, else the model's block_size."""
        return self.training.sequence_length or self.model.block_size

    def for_data(self, prompts: int) -> "Config":
        """Return the configuration with `batching` settled: is there what is not to be learnt?"""
        batching = self.data.batching
        if batching == "auto":
            batching = "documents" if prompts else "packed"
        return replace(self, data=replace(self.data, batching=batching))

    def for_length(self, total_steps: int) -> "Config":
        """Return the configuration with what depends on the length of the run settled."""
        training, part = self.training, max(1, total_steps // 20)
        settled = replace(
            training,
            warmup_steps=part if training.warmup_steps is None else training.warmup_steps,
            eval_interval=training.eval_interval or part,
        )
        return replace(self, training=settled)


SECTIONS: dict[str, type] = {
    "model": ModelSection,
    "data": DataSection,
    "training": TrainingSection,
    "logging": LoggingSection,
}
# Exactly one of these says how long a run is; a later source that sets one unsets the others.
LENGTH_KEYS = ("training.max_steps", "training.num_epochs")


def comma_list(value: str | None) -> list[str]:
    """Return the parts of a value that lists several.

    >>> comma_list("wte, h.0"), comma_list(None)
    (['wte', 'h.0'], [])
    """
    return [part.strip() for part in (value or "").split(",") if part.strip()]


def options() -> Iterator[tuple[str, dataclasses.Field]]:
    """Yield every dotted key with its field, in the schema's order."""
    for section, kind in SECTIONS.items():
        for item in dataclasses.fields(kind):
            yield f"{section}.{item.name}", item


def flatten(config: Config) -> dict[str, Any]:
    """Return the configuration as {dotted key: value}."""
    return {
        f"{section}.{name}": value
        for section, values in dataclasses.asdict(config).items()
        for name, value in values.items()
    }


def build(values: dict[str, Any]) -> Config:
    """Return the Config of already coerced dotted values."""
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for key, value in values.items():
        section, name = key.split(".", 1)
        sections[section][name] = value
    return Config(**{section: SECTIONS[section](**sections[section]) for section in SECTIONS})


def hint(key: str) -> Any:
    """Return the type of a dotted key's values, its null aside."""
    section, name = key.split(".", 1)
    declared = get_type_hints(SECTIONS[section])[name]
    return get_args(declared)[0] if get_origin(declared) is types.UnionType else declared


def coerce(key: str, value: Any) -> Any:
    """Turn one given value (a YAML scalar or a flag's string) into the key's type.

    Raises ValueError that says what was expected.

    >>> coerce("training.learning_rate", "3e-4"), coerce("model.n_layer", 6.0)
    (0.0003, 6)
    """
    section, name = key.split(".", 1)
    item, kind = SECTIONS[section].__dataclass_fields__[name], hint(key)
    if value is None or (isinstance(value, str) and value.lower() in ("null", "none", "")):
        if isinstance(get_type_hints(SECTIONS[section])[name], types.UnionType):
            return None
        raise ValueError(f"needs {_expectation(kind)}, not {value!r}")
    result = _convert(kind, value)
    _check_bounds(result, item.metadata)
    return result


def _convert(kind: Any, value: Any) -> Any:
    expected = ValueError(f"needs {_expectation(kind)}, not {value!r}")
    if get_origin(kind) is Literal:
        if value not in get_args(kind):
            raise expected
        return value
    if kind is bool:
        words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
        if isinstance(value, bool) or str(value).lower() in words:
            return words[str(value).lower()]
        raise expected
    if kind is str:
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise expected
        if any(ord(character) < 32 for character in str(value)):
            raise ValueError(f"needs a word without control characters, not {value!r}")
        return str(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise expected
    if kind is int:
        with contextlib.suppress(ValueError):  # exact at any size; "1e3" goes on below
            return int(value) if isinstance(value, str | int) else int(str(value))
    try:
        number = float(value)
    except (ValueError, OverflowError):
        raise expected from None
    if not math.isfinite(number) or (kind is int and number != int(number)):
        raise expected
    return kind(number)


def _expectation(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(get_args(kind))
    names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
    return names[kind]


def _check_bounds(value: Any, bounds: Any) -> None:
    low, above, high = bounds["low"], bounds["above"], bounds["high"]
    if low is not None and value < low:
        raise ValueError(f"must be at least {low}, not {value}")
    if above is not None and value <= above:
        raise ValueError(f"must be above {above}, not {value}")
    if high is not None and value > high:
        raise ValueError(f"must be at most {high}, not {value}")
