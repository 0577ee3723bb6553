"""The command `minigpt2`: runs the command line, and turns errors into a line and an exit code."""

import os
import sys

from minigpt2.errors import ConfigError, MiniGPT2Error


def main() -> None:
    """Run the command line; exit with 0, or the code of what went wrong."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: list[str]) -> int:
    """Run one command line and return its exit code; `--debug` lets tracebacks through."""
    debug = "--debug" in arguments
    try:
        from minigpt2.cli.app import run_command

        code = run_command([item for item in arguments if item != "--debug"])
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # The reader left (`| head`): nothing to tell anybody, and nothing may be flushed at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    except Exception as error:
        if debug:
            raise
        return _report(error)


def _report(error: Exception) -> int:
    """Say what went wrong in one line each; return the exit code."""
    problems = error.problems if isinstance(error, ConfigError) else [str(error)]
    if isinstance(error, MiniGPT2Error):
        code = error.exit_code
    else:
        code = 1
        kind = type(error).__name__
        problems = [f"{kind}: {error} (unexpected; --debug shows where, please report it)"]
    for problem in problems:
        print(f"minigpt2: {problem.replace(chr(10), ' ')}", file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
