"""`minigpt2 finetune`: the one trainer with another start, a model that is there already."""

from pathlib import Path
from typing import Literal

from minigpt2.cli.options import dotted, with_config_flags
from minigpt2.cli.train import INIT_PRESET, Sources, print_all_options, start
from minigpt2.config import marked
from minigpt2.errors import UsageError
from minigpt2.settings import find_value, resolve

_THE_MODELS = ["model.n_layer", "model.n_head", "model.n_embd", "model.block_size",
               "model.dropout", "data.tokenizer"]  # fmt: skip


def _finetune(
    model: str | None = None,
    input: str | None = None,
    *,
    config: Path | None = None,
    out: str | None = None,
    lora: bool = False,
    resume: Literal["auto", "never"] = "auto",
    chat: bool = False,
    print_config: bool = False,
    help_all: bool = False,
    **flags: str | None,
) -> int:
    """Train a model further, on a text, prompts and answers, or conversations.

    It starts gently and ends when the held-out loss gets no better. Shape and tokenizer are the
    model's; --model.block-size may be shorter or longer than its own. Of prompts and answers, or
    "messages", in JSONL or parquet, only the answers are learnt.

    Parameters
    ----------
    model
        Run, model directory, or hub name: gpt2, gpt2-medium, OWNER/NAME.
    input
        Text file, folder, prepared data directory, data set name or URL.
    config
        YAML file with sections model, data, training, logging.
    out
        Run directory; an existing one is continued.
    lora
        Train small corrections beside the linear layers (LoRA, rank 8) and leave the rest.
    resume
        "never" refuses to continue an existing run.
    chat
        Talk to the model when it is trained.
    print_config
        Show every value and where it came from, then leave.
    help_all
        Show every option.
    """
    if help_all:
        return print_all_options(_finetune, "finetune", defaults())
    given = dotted(flags, input, out, model)
    if lora and find_value("training.lora_rank", config, given) is None:
        given["training.lora_rank"] = "8"
    sources = Sources(None, config, given, resume)
    if sources.standing_run() is None:
        if "model.init" not in given:
            raise UsageError("what is to be trained further? minigpt2 finetune MODEL TEXT")
        if "data.input_file" not in given and config is None:
            raise UsageError("on what? minigpt2 finetune MODEL TEXT, or a data directory")
    return start(sources, chat, print_config)


def defaults() -> dict[str, str]:
    """Return what the help says an option is by itself: the preset's, or the model's own."""
    preset = resolve(INIT_PRESET, None, {}).given()
    return {
        **{key: str(value).lower() for key, value in preset.items()},
        **dict.fromkeys(("training.warmup_steps", "training.eval_interval"), "a twentieth"),
        **dict.fromkeys(_THE_MODELS, "the model's"),
        "training.learning_rate": "by the model's width",
    }


finetune = with_config_flags(_finetune, marked("tuned"), defaults())
