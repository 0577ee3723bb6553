"""Hidden aliases: a nanoGPT command line works here word for word.

Options may be written with `_` or `-`. nanoGPT's short names become ours; what has no counterpart
is left out and said.
"""

from pathlib import Path, PurePosixPath

import yaml

from minigpt2.errors import UsageError

_NAMES = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text(encoding="utf-8"))
_FREE_TEXT = ("--prompt", "--stop", "--unknown")


def translate(arguments: list[str]) -> tuple[list[str], list[str]]:
    """Return the command line in our own words, and remarks on what was left out.

    >>> translate(["train", "--n_layer=4", "--eval_iters=20"])[0]
    ['train', '--model.n-layer', '4']
    """
    verb = arguments[0] if arguments else ""
    rest = _rename_all(arguments, _NAMES[verb] if verb in ("train", "generate") else {})
    remarks: list[str] = []
    if verb == "generate":
        released = _take(rest, "--init-from") or "resume"
        rest[1:1] = [] if released == "resume" else ["--model", released]
    if verb == "train":
        if _take(rest, "--eval-iters") is not None:
            remarks.append("--eval_iters is not needed: every evaluation uses the whole split")
        start, steps = _take(rest, "--init-from"), _take(rest, "--gradient-accumulation-steps")
        for place, argument in enumerate(rest):
            if preset := _NAMES["config_files"].get(PurePosixPath(argument).name):
                remarks.append(f"{argument}: its values are those of --preset {preset}")
                rest[place : place + 1] = ["--preset", preset]
        rest = _accumulation([*rest, *_init_from(start)], steps)
    return rest, remarks


def _take(arguments: list[str], option: str) -> str | None:
    """Take an option and its value out of the command line; of several the last one counts."""
    value = None
    while option in arguments:
        place = arguments.index(option)
        value = "".join(arguments[place + 1 : place + 2])
        del arguments[place : place + 2]
    return value


def _rename_all(arguments: list[str], aliases: dict[str, str]) -> list[str]:
    renamed: list[str] = []
    for argument in arguments:
        name, equals, value = argument.partition("=")
        # What follows an option that takes free text is text, however it looks.
        if renamed and renamed[-1] in _FREE_TEXT and argument.startswith("-"):
            renamed[-1] += f"={argument}"
        elif not name.startswith("--") or (renamed and renamed[-1] in _FREE_TEXT):
            renamed.append(argument)
        else:
            name = name[2:].replace("_", "-")
            renamed += ["--" + aliases.get(name, name), *([value] if equals else [])]
    return renamed


def _init_from(value: str | None) -> list[str]:
    if value in (None, "resume"):
        return []
    if value != "scratch" and not value.startswith("gpt2"):
        raise UsageError(f"--init_from takes scratch, resume or gpt2..., not {value!r}")
    return ["--resume", "never"] if value == "scratch" else ["--init", value]


def _accumulation(arguments: list[str], steps: str | None) -> list[str]:
    """Our batch is the optimizer step's, nanoGPT's is what is in memory at once."""
    if steps is None:
        return arguments
    if not steps.isdecimal() or int(steps) < 1:
        raise UsageError(f"--gradient_accumulation_steps needs a whole number, not {steps!r}")
    micro = _take(arguments, "--training.batch-size")
    if not micro:
        raise UsageError("--gradient_accumulation_steps needs --batch_size beside it")
    if not micro.isdecimal():  # told where values are checked
        return [*arguments, "--training.batch-size", micro]
    split = ["--training.batch-size", str(int(micro) * int(steps))]
    return [*arguments, *split, "--training.micro-batch-size", micro]
