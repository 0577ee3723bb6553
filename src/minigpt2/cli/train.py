"""`minigpt2 train`: from any text, or none, to a trained model with its curve."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from cyclopts import App

from minigpt2.cli.options import EVERY, StopRequest, Verb, dotted, say, with_config_flags
from minigpt2.settings import Settings, find_value, presets, resolve, stored_config

DEFAULT_PRESET, GPU_PRESET, INIT_PRESET = "shakespeare-char", "shakespeare-char-10m", "finetune"
# Before the model that is trained further is opened, any length within reason may be its own.
_UNKNOWN_SHAPE = {"model.block_size": 2**24}


@dataclass
class Sources:
    """Where the configuration of this command comes from."""

    preset: str | None
    config: Path | None
    flags: dict[str, str]
    resume: Literal["auto", "never"]
    start: dict[str, Any] | None = None  # what the model that is trained further brings along

    def opened(self) -> Settings:
        """Resolve them, with what the model that is trained further brings along."""
        settings = self.resolve()  # mistakes are told before torch is imported
        if self.init is None:
            return settings
        from minigpt2.training import starting_values

        lora = settings.config.training.lora_rank is not None
        self.start = starting_values(self.init, lora, say)
        return self.resolve()

    @property
    def init(self) -> str | None:
        """The model to start from, if there is one to open."""
        return None if self.standing_run() else find_value("model.init", self.config, self.flags)

    def standing_run(self) -> Path | None:
        """Return the run directory that is to be continued, if there is one."""
        out = find_value("logging.model_save_path", self.config, self.flags)
        stands = self.resume == "auto" and out and (Path(out) / "config.yaml").is_file()
        return Path(out) if stands else None

    def resolve(self, fitting: str = DEFAULT_PRESET) -> Settings:
        """Merge them; where no preset or file is named, over the `fitting` preset.

        A run that stands supplies its own values instead of the defaults.
        """
        preset, base, name = self.preset, {}, "the run's config.yaml"
        if run_dir := self.standing_run():
            base = stored_config(run_dir).given()
        elif self.init is not None:
            preset, base = preset or INIT_PRESET, self.start or _UNKNOWN_SHAPE
            name = f"model {self.init}"
        elif preset is None and self.config is None:
            preset = fitting
        return resolve(preset, self.config, None, self.flags, base, name)


def _train(
    input: str | None = None,
    *,
    preset: str | None = None,
    config: Path | None = None,
    out: str | None = None,
    init: str | None = None,
    resume: Literal["auto", "never"] = "auto",
    chat: bool = False,
    print_config: bool = False,
    help_all: bool = False,
    **flags: str | None,
) -> int:
    """Train a model; with nothing at all, on the embedded Shakespeare.

    Without --preset or --config the values are those of --preset shakespeare-char (on a GPU
    shakespeare-char-10m); --print-config shows them. Ctrl-C finishes the step, saves and leaves;
    the same command with --out goes on from there.

    Parameters
    ----------
    input
        Text file, folder, prepared data directory, data set name or URL.
    preset
        Values to start from: bigram, tiny-byte, shakespeare-char, gpt2-124m, ...
    config
        YAML file with sections model, data, training, logging.
    out
        Run directory; an existing one is continued.
    init
        Model to start from, as `minigpt2 finetune` does.
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
        return print_all_options(_train, "train")
    given = dotted(flags, input, out, init)
    return start(Sources(preset, config, given, resume), chat, print_config)


train = with_config_flags(_train)


def start(sources: Sources, chat: bool, print_config: bool) -> int:
    """Train what `sources` say, and show it, or print their values."""
    settings = sources.opened()
    if print_config:
        print(settings.describe())
        return 0
    from minigpt2.terminal.training import TrainingView
    from minigpt2.training import new_run_dir
    from minigpt2.training import train as train_events

    fitting = fitting_preset(settings.config.training.device)
    if find_value("logging.model_save_path", sources.config, sources.flags) is None:
        text = re.sub(r"[^\w.-]+", "-", Path(sources.flags.get("data.input_file", "")).stem)[:40]
        name = sources.preset or (sources.config.stem if sources.config else text or fitting)
        sources.flags["logging.model_save_path"] = str(new_run_dir(name))
    config = sources.resolve(fitting).config
    view = TrainingView()
    with StopRequest() as request, view:
        for event in train_events(config, resume=sources.resume, stop=request.asked, say=view.say):
            view.show(event)
    if request.signal is not None:
        return 128 + request.signal
    if chat:
        from minigpt2.cli.chat import chat as open_chat

        return open_chat(config.logging.model_save_path)
    return 0


def fitting_preset(device: str) -> str:
    """Return the preset for who names none: the one this machine trains in minutes."""
    from minigpt2.training import find_device

    return DEFAULT_PRESET if find_device(device) == "cpu" else GPU_PRESET


def print_all_options(function: Verb, verb: str, defaults: Mapping[str, str] = {}) -> int:
    """Print the help of `verb` with every option there is."""
    app = App(name="minigpt2", result_action="return_value")
    app.command(with_config_flags(function, EVERY, defaults), name=verb)
    app([verb, "--help"])
    if verb == "train":
        print(f"\nPresets: {', '.join(presets())}")
    return 0
