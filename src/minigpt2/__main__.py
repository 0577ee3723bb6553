"""The command `minigpt2`: runs the command line, and turns errors into a line and an exit code."""

import contextlib
import io
import os
import sys
from pathlib import Path

from minigpt2.errors import ConfigError, MiniGPT2Error, StorageError, is_out_of_memory


def main() -> None:
    """Run the command line; exit with 0, or the code of what went wrong."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; `--debug` lets tracebacks through."""
    debug = "--debug" in arguments
    _tolerate_any_text()
    os.environ.setdefault("GOMP_SPINCOUNT", str(_spin(arguments)))  # read as torch is imported
    try:
        from minigpt2.cli.app import run_command

        code = run_command([item for item in arguments if item != "--debug"])
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _drop_unwritten()  # the reader left (`| head`): there is nobody to tell
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if debug:
            raise
        if isinstance(error, OSError):
            _drop_unwritten()
        return _report(error)


def _drop_unwritten() -> None:
    """Forget what standard output does not take: Python would try again at its exit, and fail."""
    try:
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


# OpenMP threads spin at every barrier, and beside another program they burn the very core they
# wait for. A short spin costs training nothing on an idle machine and keeps half the speed on a
# busy one, where the default keeps a sixth. Writing has a barrier every 50 microseconds, and on an
# idle machine a longer spin makes it faster by a third: benchmarks/spin.md.
SPIN_BESIDE, SPIN_ALONE = 1_000, 100_000


def _spin(arguments: list[str]) -> int:
    """Return how often to look before going to sleep at a barrier."""
    writes = any(verb in arguments[:1] for verb in ("generate", "chat"))
    with contextlib.suppress(OSError, AttributeError):  # Windows has no load average
        if writes and os.getloadavg()[0] < (os.cpu_count() or 1) / 2:
            return SPIN_ALONE
    return SPIN_BESIDE


def _tolerate_any_text() -> None:
    """Let no character of a model's or a user's text be one the terminal's encoding refuses."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # closed by whoever started us
            setattr(sys, name, Path(os.devnull).open(mode, encoding="utf-8"))  # noqa: SIM115
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _report(error: Exception) -> int:
    """Say what went wrong in one line each; return the exit code."""
    if isinstance(error, OSError):
        name = f"{error.filename}: " if error.filename else ""
        error = StorageError(f"cannot read or write: {name}{error.strerror or error}")
    problems = error.problems if isinstance(error, ConfigError) else [str(error)]
    ours = isinstance(error, MiniGPT2Error)
    if not ours and is_out_of_memory(error):
        detail = (problems[0] or "MemoryError").splitlines()[0]
        problems = [
            "not enough memory for this model and batch; try a smaller --training.micro-batch-size,"
            f" --model.block-size or --model.n-embd ({detail})"
        ]
    elif not ours:
        kind = type(error).__name__
        problems = [f"{kind}: {error} (unexpected; --debug shows where, please report it)"]
    for problem in problems:
        print(f"minigpt2: {problem.replace(chr(10), ' ')}", file=sys.stderr)
    return error.exit_code if isinstance(error, MiniGPT2Error) else 1


if __name__ == "__main__":
    main()
