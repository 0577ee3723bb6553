"""TensorBoard events beside metrics.jsonl, where `minigpt2[track]` is installed."""

import contextlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

Track = Callable[[dict[str, Any]], None]


@contextlib.contextmanager
def tracking(folder: Path, step: int) -> Iterator[Track]:
    """Yield what writes a line of metrics under `folder`; without TensorBoard it does nothing."""
    if not find_spec("tensorboard"):
        yield lambda entry: None
        return
    from torch.utils.tensorboard import SummaryWriter

    def track(entry: dict[str, Any]) -> None:
        for name, value in entry.items():
            if name != "step":
                writer.add_scalar(name, value, entry["step"])

    # Points after `purge_step` of a run that died are hidden, as metrics.jsonl cuts them.
    with SummaryWriter(str(folder), purge_step=step + 1) as writer:
        yield track
