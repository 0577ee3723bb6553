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
from operator import attrgetter, ge, gt, le
from typing import Any, Literal, get_args, get_type_hints

from minigpt2.errors import ConfigError


def option(default: Any, **about: float) -> Any:
    """Declare one key: its default, and what else there is to know about it.

    `low`, `above` and `high` are the bounds of its values. The help of `train` shows what is
    `common`, that of `finetune` what is `tuned`. Of a run that is resumed what is `free` may
    change, and so may what is `planned`, which asks for a new plan. The line of help stands in the
    docstring of its section.
    """
    return field(default=default, metadata=about)


@dataclass(frozen=True)
class ModelSection:
    """The model's shape.

    Parameters
    ----------
    kind
        gpt2, or the bigram baseline
    n_layer
        blocks
    n_head
        attention heads a block
    n_embd
        width of the residual stream
    block_size
        longest context in tokens
    vocab_size
        null: the tokenizer's; a larger number adds unused rows
    dropout
        probability of dropping an activation
    init
        a model to start from: run, directory or hub name; its shape is the model's
    """

    kind: Literal["gpt2", "bigram"] = "gpt2"
    n_layer: int = option(4, low=1, high=10_000, common=True)
    n_head: int = option(4, low=1, high=2**20, common=True)
    n_embd: int = option(128, low=1, high=2**20, common=True)
    block_size: int = option(64, low=1, high=2**24, common=True, tuned=True)
    vocab_size: int | None = option(None, low=1, high=2**31)
    dropout: float = option(0.0, low=0.0, high=0.99, tuned=True)
    init: str | None = None


@dataclass(frozen=True)
class DataSection:
    """The text, and how it becomes token ids.

    Parameters
    ----------
    input_file
        text file, folder, prepared data directory, or data set name
    tokenizer
        char, byte, bpe:N, gpt2, or a directory with tokenizer.json; prepared data brings its own
    batching
        packed: rows cut from one stream; documents: one a row; auto: documents for prompts and
        answers
    mask_documents
        packed rows: no document sees another, and positions restart
    special_tokens
        with model.init: tokens to add, by commas, that the text contains
    val_fraction
        share held out for validation: a text's end, or that many of its documents
    """

    input_file: str = "shakespeare"
    tokenizer: str = option("char", common=True)
    batching: Literal["auto", "packed", "documents"] = "auto"
    mask_documents: bool = False
    special_tokens: str | None = option(None, tuned=True)
    val_fraction: float = option(0.1, above=0.0, high=0.9)


@dataclass(frozen=True)
class TrainingSection:
    """The optimization: its length, batch, rates, and what it runs on.

    Parameters
    ----------
    max_steps
        optimizer steps
    num_epochs
        passes over the training split
    batch_size
        sequences in one optimizer step
    micro_batch_size
        sequences in memory at once; null: batch_size
    sequence_length
        tokens a sequence; null: block_size
    optimizer
        adamw, or adam, whose decay joins the gradient
    learning_rate
        peak learning rate
    min_learning_rate
        learning rate at the end; null: a tenth of learning_rate
    warmup_steps
        steps of linear warm-up; null: a twentieth of the run
    decay_steps
        step at which the rate is lowest; null: the end
    schedule
        shape of the learning rate after warm-up
    weight_decay
        decoupled decay of the matrices
    beta1
        Adam's first moment
    beta2
        Adam's second moment
    grad_clip
        largest gradient norm; 0: no clipping
    eval_interval
        steps between evaluations; null: a twentieth of the run
    patience
        stop after this many evaluations without a better one; null: never
    seed
        of weights, batches, dropout and samples
    device
        auto, cpu, cuda, cuda:N or mps
    dtype
        auto measures; the weights themselves stay float32
    attention
        how attention is computed; auto measures
    compile
        torch.compile the model
    freeze
        parameters that stay as they are, by commas: wte, h.0, h.*.mlp, *.bias
    lora_rank
        train corrections of this rank (LoRA) and nothing else
    lora_alpha
        the corrections count by alpha / rank; null: twice the rank
    lora_dropout
        dropout before the corrections
    lora_targets
        linear layers that get corrections, by commas
    activation_checkpointing
        recompute every k-th block in the backward pass: slower, and less memory
    threads
        CPU threads; null: one a core
    """

    max_steps: int | None = option(None, low=1, high=10**12, common=True, tuned=True, free=True)
    num_epochs: int | None = option(None, low=1, high=10**5, common=True, tuned=True, free=True)
    batch_size: int = option(12, low=1, high=2**20, common=True, tuned=True)
    micro_batch_size: int | None = option(None, low=1, tuned=True, planned=True)
    sequence_length: int | None = option(None, low=1, high=2**24, tuned=True)
    optimizer: Literal["adamw", "adam"] = "adamw"
    learning_rate: float = option(1e-3, above=0.0, common=True, tuned=True)
    min_learning_rate: float | None = option(None, low=0.0)
    warmup_steps: int | None = option(100, low=0)
    decay_steps: int | None = option(None, low=1)
    schedule: Literal["cosine", "linear", "wsd", "constant"] = "cosine"
    weight_decay: float = option(0.1, low=0.0)
    beta1: float = option(0.9, low=0.0, high=0.99999)
    beta2: float = option(0.99, low=0.0, high=0.999999)
    grad_clip: float = option(1.0, low=0.0)
    eval_interval: int | None = option(250, low=1)
    patience: int | None = option(None, low=1, tuned=True, free=True)
    seed: int = option(1337, low=0, high=2**63 - 1, common=True, tuned=True)
    device: str = option("auto", common=True, tuned=True, planned=True)
    dtype: Literal["auto", "float32", "bfloat16"] = option("auto", planned=True)
    attention: Literal["auto", "explicit", "fused", "fused-fp32"] = option("auto", planned=True)
    compile: bool = option(False, planned=True)
    freeze: str | None = option(None, tuned=True)
    lora_rank: int | None = option(None, low=1, high=65536, tuned=True)
    lora_alpha: float | None = option(None, above=0.0)
    lora_dropout: float = option(0.0, low=0.0, high=0.99)
    lora_targets: str = option("c_attn,c_proj,c_fc", tuned=True)
    activation_checkpointing: int | None = option(None, low=1, tuned=True, free=True)
    threads: int | None = option(None, low=1, high=4096, planned=True)


@dataclass(frozen=True)
class LoggingSection:
    """What is written down, how often, and where.

    Parameters
    ----------
    log_interval
        steps between lines of metrics.jsonl
    save_interval
        steps between checkpoints
    sample_interval
        steps between samples; null: none
    keep_last
        checkpoints kept, the best one aside
    keep_history
        weights kept for good under history/, so many each time the steps double; 0: none
    model_save_path
        the run directory; --out for short
    """

    log_interval: int = option(10, low=1, free=True)
    save_interval: int = option(500, low=1, free=True)
    sample_interval: int | None = option(500, low=1, free=True)
    keep_last: int = option(2, low=1, free=True)
    keep_history: int = option(0, low=0, high=64, free=True)
    model_save_path: str | None = option(None, free=True)


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
        warmup = part if training.warmup_steps is None else training.warmup_steps
        known = {"warmup_steps": warmup, "eval_interval": training.eval_interval or part}
        return replace(self, training=replace(training, **known))


SECTIONS: dict[str, type] = get_type_hints(Config)
# Exactly one of these says how long a run is; a later source that sets one unsets the others.
LENGTH_KEYS = ("training.max_steps", "training.num_epochs")
_BOUNDS = {"low": (ge, "at least"), "above": (gt, "above"), "high": (le, "at most")}
_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def comma_list(value: str | None) -> list[str]:
    """Return the parts of a value that lists several.

    >>> comma_list("wte, h.0"), comma_list(None)
    (['wte', 'h.0'], [])
    """
    return [part.strip() for part in (value or "").split(",") if part.strip()]


def bpe_size(name: str, specials: int = 1) -> int:
    """Return the N of "bpe:N"; raise ConfigError if it is no number or too small.

    >>> bpe_size("bpe:8192")
    8192
    """
    least = 256 + specials
    digits = name.removeprefix("bpe:")
    if not (digits.isascii() and digits.isdigit()) or not least <= int(digits[:9]) <= 1_000_000:
        needed = f"a number from {least} to 1,000,000, as in bpe:8192"
        raise ConfigError([f"data.tokenizer {name!r} needs {needed}"])
    return int(digits)


def options() -> Iterator[tuple[str, dataclasses.Field]]:
    """Yield every dotted key with its field, in the schema's order."""
    for section, kind in SECTIONS.items():
        for item in dataclasses.fields(kind):
            yield f"{section}.{item.name}", item


def marked(mark: str) -> frozenset[str]:
    """Return the dotted keys that are declared with this mark, as `common` is one."""
    return frozenset(key for key, item in options() if item.metadata.get(mark))


def flatten(config: Config) -> dict[str, Any]:
    """Return the configuration as {dotted key: value}."""
    return {key: attrgetter(key)(config) for key, _ in options()}


def build(values: dict[str, Any]) -> Config:
    """Return the Config of already coerced dotted values."""
    sections: dict[str, dict[str, Any]] = {section: {} for section in SECTIONS}
    for key, value in values.items():
        section, name = key.split(".", 1)
        sections[section][name] = value
    return Config(**{section: kind(**sections[section]) for section, kind in SECTIONS.items()})


def hint(key: str) -> Any:
    """Return the type of a dotted key's values, its null aside."""
    declared: Any = dict(options())[key].type
    return get_args(declared)[0] if isinstance(declared, types.UnionType) else declared


def coerce(key: str, value: Any) -> Any:
    """Turn one given value (a YAML scalar or a flag's string) into the key's type.

    Raises ValueError that says what was expected.

    >>> coerce("training.learning_rate", "3e-4"), coerce("model.n_layer", 6.0)
    (0.0003, 6)
    """
    item, kind = dict(options())[key], hint(key)
    absent = value is None or str(value).lower() in ("null", "none", "")
    if absent and isinstance(item.type, types.UnionType):
        return None
    try:
        result = _convert(kind, None if absent else value)
    except (ValueError, OverflowError):
        names = {int: "a whole number", float: "a number", bool: "true or false", str: "a word"}
        expectation = names.get(kind) or "one of " + ", ".join(get_args(kind))
        raise ValueError(f"needs {expectation}, not {value!r}") from None
    if kind is str and any(ord(character) < 32 for character in result):
        raise ValueError(f"needs a word without control characters, not {value!r}")
    for bound, (holds, words) in _BOUNDS.items():
        if bound in item.metadata and not holds(result, item.metadata[bound]):
            raise ValueError(f"must be {words} {item.metadata[bound]}, not {result}")
    return result


def _convert(kind: Any, value: Any) -> Any:
    """Return a value as one of its kind; raise ValueError or OverflowError if it is none."""
    if kind is bool and str(value).lower() in _WORDS:
        return _WORDS[str(value).lower()]
    if value in get_args(kind):
        return value
    # A truth value is a number to Python, and to nobody who writes one into a configuration.
    scalar = isinstance(value, str | int | float) and not isinstance(value, bool)
    if kind not in (int, float, str) or not scalar:
        raise ValueError
    if kind is str:
        return str(value)
    if kind is int:
        with contextlib.suppress(ValueError):  # exact at any size; "1e3" goes on below
            return int(str(value))
    number = float(value)
    if not math.isfinite(number) or (kind is int and number != int(number)):
        raise ValueError
    return kind(number)
