"""Where a run starts: new weights, a model that is trained further, or its own last checkpoint.

It gives the model its shape and says which of its parameters learn; how a step is taken, and by
which plan, it does not know.
"""

from pathlib import Path
from typing import Any

import torch

from minigpt2.checkpoints import RunDirectory, Say, directory, weights
from minigpt2.config import Config, comma_list
from minigpt2.errors import ConfigError, DataError
from minigpt2.files import read_json
from minigpt2.interop import open_model, opening, resolve_model
from minigpt2.model import GPT2, Bigram, BigramConfig, GPT2Config, LanguageModel, lora, resize
from minigpt2.tokenizers import Tokenizer, with_specials

# A model and its tokenizer, as far as there are some already.
Given = tuple[LanguageModel | None, Tokenizer | None]
_SHAPE = ("n_layer", "n_head", "n_embd")
# 5e-5 is what released descendants of GPT-2 were fine-tuned with, at its width of 768. Narrower
# models take more: at 128 wide 3e-3 was better than 1e-3, and that than 3e-4 (results/finetuning);
# the square of the widths' ratio passes through both.
_RATE, _WIDTH = 5e-5, 768
# LoRA's best rate is about ten times that of training everything (Biderman et al. 2024,
# arXiv 2405.09673, section 4).
_LORA_RATE, _MOST_RATE = 10, 1e-2


def starting_values(init: str, lora: bool, say: Say) -> dict[str, Any]:
    """Return the configuration values that a model to be trained further brings along.

    Shape, dropout, and a learning rate for its width. Raises DataError, InputMissingError.
    """
    folder = resolve_model(init, say)
    folder = opening.base_of(folder, say) if weights.is_adapter(folder) else folder
    path = folder / "config.json"
    model = weights.model_from_json(read_json(path), path)
    if not isinstance(model, GPT2):
        kind = "model_type minigpt2-bigram"
        raise DataError(f"{path}: {kind} is no GPT-2 that could be trained further")
    shape = model.config
    rate = _RATE * (_WIDTH / shape.n_embd) ** 2 * (_LORA_RATE if lora else 1)
    return {
        **{f"model.{name}": getattr(shape, name) for name in (*_SHAPE, "block_size", "dropout")},
        "data.tokenizer": init,
        "training.learning_rate": float(f"{min(rate, _MOST_RATE):.1g}"),
    }


def open_start(config: Config, last: Path | None, given: Given, say: Say) -> Given:
    """Open what a run starts from: `last`, its own checkpoint, else what model.init names.

    What is `given` is taken as it is, a model's frozen parts aside. None: what configuration and
    data say.
    """
    init, (model, tokenizer) = config.model.init, given
    if init is not None and (model is not None or tokenizer is not None):
        raise ConfigError([f"model.init {init}: it brings model and tokenizer along; give neither"])
    if init is not None and last is not None:
        model, tokenizer = open_model(last, say, merge=False, mapped=False)
    if init is None or last is not None:
        if model is not None:
            _freeze(config, model)
        return model, tokenizer
    model, tokenizer = open_model(resolve_model(init, _quiet), _quiet, mapped=False)
    if not isinstance(model, GPT2):
        raise ConfigError([f"model.init {init}: a bigram has nothing to fine-tune; train one anew"])
    _check_shape(config, model)
    known = tokenizer.vocab_size
    tokenizer = with_specials(tokenizer, comma_list(config.data.special_tokens))
    _check_rows(config, tokenizer.vocab_size - known, say)
    _fit(config, model, tokenizer, say)
    torch.manual_seed(config.training.seed)
    adapt(config, model, say)
    return model, tokenizer


def _check_shape(config: Config, model: GPT2) -> None:
    init, tokenizer, problems = config.model.init, config.data.tokenizer, []
    for name in _SHAPE:
        wanted, given = getattr(config.model, name), getattr(model.config, name)
        if wanted != given:
            problems.append(f"model.{name} {wanted}: {init} has {given}, and keeps its shape")
    if tokenizer != init:
        problems.append(f"data.tokenizer {tokenizer}: {init} keeps its own; leave it out")
    if problems:
        raise ConfigError(problems)


def _check_rows(config: Config, added: int, say: Say) -> None:
    """LoRA leaves the embedding as it is: one new row can be told from the others, two cannot."""
    if config.training.lora_rank is None or not added:
        return
    if added > 1:
        raise ConfigError(
            ["data.special_tokens: with LoRA the new tokens' rows are not trained, and all alike; "
             "add one token, or train without --lora"]
        )  # fmt: skip
    say("with LoRA the added token's row stays at the mean of the others")


def _fit(config: Config, model: GPT2, tokenizer: Tokenizer, say: Say) -> None:
    """Give the model the configured context, dropout and room for added tokens, and say so."""
    old, new = model.config.block_size, config.model.block_size
    if new != old:
        how = "cropped to the first" if new < old else "interpolated to"
        say(f"positions: {old} learned ones, {how} {new}")
        resize.resize_positions(model, new)
    wanted = max(config.model.vocab_size or 0, tokenizer.vocab_size)
    if wanted > model.config.vocab_size:
        say(f"vocabulary: {model.config.vocab_size} tokens, grown to {wanted}")
        resize.grow_vocabulary(model, wanted)
    resize.set_dropout(model, config.model.dropout)


def _quiet(line: str) -> None:
    pass


def adapt(config: Config, model: LanguageModel, say: Say = _quiet) -> None:
    """Give a model the configured LoRA layers and freeze what is not to learn."""
    training, rank = config.training, config.training.lora_rank
    if rank is not None:
        alpha, targets = training.lora_alpha or 2.0 * rank, comma_list(training.lora_targets)
        try:
            names = lora.add_lora(model, rank, alpha, training.lora_dropout, targets)
            say(f"LoRA of rank {rank} beside {len(names)} linear layers")
        except ValueError as error:
            raise ConfigError([f"training.lora_targets: {error}"]) from None
    _freeze(config, model, say)


def _freeze(config: Config, model: LanguageModel, say: Say = _quiet) -> None:
    try:
        if count := resize.freeze(model, comma_list(config.training.freeze)):
            say(f"frozen: {count:,} parameters")
    except ValueError as error:
        raise ConfigError([f"training.freeze: {error}"]) from None


def keep_base(run: RunDirectory, model: LanguageModel, tokenizer: Tokenizer, anew: bool) -> None:
    """Write the model beneath LoRA layers into the run: its checkpoints hold only those.

    `anew` is false where a checkpoint stands on the one that is there.
    """
    if lora.lora_layers(model) and (anew or not (run.base_dir / "config.json").is_file()):
        with lora.without_lora(model) as plain:
            directory.save_checkpoint(run.base_dir, plain, tokenizer)


def build_model(config: Config, tokenizer: Tokenizer) -> LanguageModel:
    """Build the configured model with freshly drawn weights; they depend on the seed alone."""
    vocab_size = config.model.vocab_size or tokenizer.vocab_size
    if vocab_size < (least := tokenizer.vocab_size):
        raise ConfigError([f"model.vocab_size {vocab_size} is less than the tokenizer's {least}"])
    torch.manual_seed(config.training.seed)
    model = blank_model(config, shape_of(config, vocab_size))
    _freeze(config, model)
    return model


def shape_of(config: Config, vocab_size: int) -> GPT2Config:
    """Return the configured shape; a bigram has its vocabulary and its context."""
    m = config.model
    return GPT2Config(vocab_size, m.block_size, m.n_layer, m.n_head, m.n_embd, m.dropout)


def blank_model(config: Config, shape: GPT2Config) -> LanguageModel:
    """Build a model of the configured kind, as it is before anything is done to it."""
    if config.model.kind == "bigram":
        return Bigram(BigramConfig(shape.vocab_size, shape.block_size))
    return GPT2(shape)
