"""`minigpt2 report`: draw the loss curves of one or several runs."""

import sys
from pathlib import Path

from minigpt2.errors import DataError, InputMissingError
from minigpt2.files import read_sealed


def report(*runs: Path, out: Path | None = None) -> int:
    """Draw loss against steps, training and whole-split validation, as a PNG.

    Parameters
    ----------
    runs
        Run directories; default: the newest under runs/.
    out
        The picture; default: report.png, or loss.png in the run if it is one.
    """
    from minigpt2.checkpoints import RunDirectory, newest_run
    from minigpt2.training import draw_curves

    chosen = list(runs) or [newest_run(Path("runs"))]
    logs = {}
    for path in chosen:
        if not path.is_dir():
            raise InputMissingError(f"no run directory {path}")
        run = RunDirectory(path)
        log = run.read_log() if run.metrics_path.exists() else []
        if log:
            logs[str(path)] = log
        else:
            print(f"skipped {path}: no step is logged in it", file=sys.stderr)
    if not logs:
        raise DataError(f"nothing to draw: no step is logged in {', '.join(map(str, chosen))}")
    target = out or (chosen[0] / "loss.png" if len(chosen) == 1 else Path("report.png"))
    draw_curves(logs, target, _bigram_loss(chosen[0]) if len(chosen) == 1 else None)
    print(target)
    return 0


def _bigram_loss(run_dir: Path) -> float | None:
    try:
        return read_sealed(run_dir / "run.json").get("bigram_loss")
    except (DataError, InputMissingError) as error:
        print(f"no bigram line: {error}", file=sys.stderr)
        return None
