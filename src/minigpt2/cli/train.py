"""`minigpt2 train`: from any text, or none, to a trained model with its curve."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from cyclopts import App
from rich.console import Console

from minigpt2.cli.options import dotted, with_config_flags
from minigpt2.cli.signals import StopRequest
from minigpt2.settings import Settings, presets, resolve

DEFAULT_PRESET, GPU_PRESET = "shakespeare-char", "shakespeare-char-10m"


@dataclass(frozen=True)
class Sources:
    """Where the configuration of this command comes from."""

    preset: str | None
    config: Path | None
    flags: dict[str, str]

    def resolve(self, resume: bool = True) -> Settings:
        """Merge them; a run that stands in --out supplies its values instead of the defaults."""
        free = self.preset is None and self.config is None
        fresh = resolve(DEFAULT_PRESET if free else self.preset, self.config, None, self.flags)
        out = fresh.config.logging.model_save_path
        if not (resume and out and (Path(out) / "config.yaml").is_file()):
            return fresh
        stored = resolve(config_path=Path(out) / "config.yaml", environment={})
        flags = {**self.flags, "logging.model_save_path": out}
        return resolve(self.preset, self.config, None, flags, base=stored.given())


def _train(
    input: str | None = None,
    *,
    preset: str | None = None,
    config: Path | None = None,
    out: Path | None = None,
    resume: Literal["auto", "never"] = "auto",
    chat: bool = False,
    print_config: bool = False,
    help_all: bool = False,
    **flags: str | None,
) -> int:
    """Train a model; with nothing at all, on the embedded Shakespeare.

    Ctrl-C finishes the step, saves and leaves; the same command with --out goes on from there.

    Parameters
    ----------
    input
        Text file, prepared data directory, or data set name.
    preset
        Values to start from: bigram, tiny-byte, shakespeare-char, gpt2-124m, ...
    config
        YAML file with sections model, data, training, logging.
    out
        Run directory; an existing one is continued.
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
        return _print_all_options()
    given = dotted(flags)
    if input is not None:
        given["data.input_file"] = input
    if out is not None:
        given["logging.model_save_path"] = str(out)
    sources = Sources(preset, config, given)
    settings = sources.resolve(resume == "auto")  # mistakes are told before torch is imported
    if print_config:
        print(settings.describe())
        return 0
    return _run(sources, settings, resume, chat)


train = with_config_flags(_train, every=False)


def _run(sources: Sources, settings: Settings, resume: Literal["auto", "never"], chat: bool) -> int:
    """Import torch at last, train, and show it."""
    from minigpt2.terminal.training import TrainingView
    from minigpt2.training import find_device, run_stamp
    from minigpt2.training import train as train_events

    if settings.config.logging.model_save_path is None:
        if sources.preset is None and sources.config is None:
            on_cpu = find_device(settings.config.training.device) == "cpu"
            sources = replace(sources, preset=DEFAULT_PRESET if on_cpu else GPU_PRESET)
        name = sources.preset or (sources.config.stem if sources.config else "run")
        flags = {**sources.flags, "logging.model_save_path": f"runs/{run_stamp(name)}"}
        settings = replace(sources, flags=flags).resolve()
    view = TrainingView(Console(stderr=True), Console())
    with StopRequest() as request, view:
        for event in train_events(settings.config, resume=resume, stop=request.asked, say=view.say):
            view.show(event)
    if request.signal is not None:
        return 128 + request.signal
    if chat:
        from minigpt2.cli.chat import chat as open_chat

        return open_chat(settings.config.logging.model_save_path)
    return 0


def _print_all_options() -> int:
    app = App(name="minigpt2", result_action="return_value")
    app.command(with_config_flags(_train, every=True), name="train")
    app(["train", "--help"])
    print(f"\nPresets: {', '.join(presets())}")
    return 0
