"""The table of commands. Building it, `--help` and usage errors import no torch."""

import sys
from typing import Any

from cyclopts import App, CycloptsError, Parameter, UnusedCliTokensError
from rich.console import Console

from minigpt2 import __version__
from minigpt2.cli.nanogpt import translate
from minigpt2.errors import UsageError

COMMANDS = {
    "train": "Train a model; with nothing at all, on Shakespeare.",
    "finetune": "Go on training a model on a text of yours: all of it, or LoRA.",
    "prepare": "Make training data of any text: files, folders, tables, crawls.",
    "tokenize": "Show a text as a tokenizer sees it.",
    "generate": "Write text with a model.",
    "chat": "Talk to a model in the terminal.",
    "serve": "Serve models: an OpenAI-compatible API, and a page.",
    "eval": "Measure a model: whole-split loss, LAMBADA, HellaSwag, WikiText.",
    "export": "Write a model for other programs: Hugging Face, GGUF, ONNX.",
    "import": "Make a model of a pickled checkpoint: nanoGPT's, or an old Hugging Face one.",
    "sweep": "Search for the best values of any option, over many runs.",
    "report": "Make a page of runs: curves, samples, evaluations.",
    "doctor": "Show what this machine offers and what would be chosen.",
}
# Where a verb is not a module's and a function's name.
_PLACES = {"import": "import_:import_model", "eval": "eval:measure"}


def build_app() -> App:
    """Return the command line; each verb's module is imported when the verb is used."""
    app = App(
        name="minigpt2",
        help="GPT-2, whole: train it on any text, measure it, write and chat with it.\n\n"
        "Start with: minigpt2 train",
        version=__version__,
        console=Console(),
        error_console=Console(stderr=True),
        exit_on_error=False,
        print_error=False,
        # Of an option given twice the last one counts, as everywhere.
        default_parameter=Parameter(negative="", allow_repeating=True),
        result_action="return_value",
        help_epilogue="Every command takes --help, and --debug to show a traceback.",
    )
    for place, (name, help_line) in enumerate(COMMANDS.items()):
        module = _PLACES.get(name, f"{name}:{name}")
        app.command(f"minigpt2.cli.{module}", name=name, help=help_line, sort_key=place)
    app.register_install_completion_command(name="--install-completion")
    return app


def run_command(arguments: list[str]) -> int:
    """Parse and run one command line; raise UsageError for one that cannot be meant."""
    arguments, remarks = translate(arguments)
    for remark in remarks:
        print(remark, file=sys.stderr)
    try:
        result: Any = build_app()(arguments)
    except CycloptsError as error:
        command = arguments[0] if arguments and arguments[0] in COMMANDS else ""
        help_command = f"minigpt2 {command} --help".replace("  ", " ")
        raise UsageError(f"{_one_line(error)} See {help_command}") from None
    return result if isinstance(result, int) else 0


def _one_line(error: CycloptsError) -> str:
    if isinstance(error, UnusedCliTokensError):
        what = " ".join(error.unused_tokens or [])
        return f"what is {what!r}? Text with blanks goes in quotes, a prompt behind --prompt."
    return " ".join(str(error).split())
