"""`minigpt2 report`: draw the loss curves of one or several runs."""

import json
from pathlib import Path

from minigpt2.errors import DataError, InputMissingError


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
    for path in chosen:
        if not path.is_dir():
            raise InputMissingError(f"no run directory {path}")
    logs = {str(path): RunDirectory(path).read_log() for path in chosen}
    for name, log in logs.items():
        if not log:
            raise DataError(f"{name}/metrics.jsonl has no line yet")
    target = out or (chosen[0] / "loss.png" if len(chosen) == 1 else Path("report.png"))
    draw_curves(logs, target, _bigram_loss(chosen[0]) if len(chosen) == 1 else None)
    print(target)
    return 0


def _bigram_loss(run_dir: Path) -> float | None:
    try:
        return json.loads((run_dir / "run.json").read_text(encoding="utf-8"))["bigram_loss"]
    except (OSError, ValueError, KeyError):
        return None
