"""TensorBoard events beside metrics.jsonl, where `minigpt2[track]` is installed."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any


class Tracker:
    """Writes scalars under `folder`; without TensorBoard it does nothing."""

    def __init__(self, folder: Path, step: int) -> None:
        self._writer = None
        if find_spec("tensorboard"):
            from torch.utils.tensorboard import SummaryWriter

            # Points after `purge_step` of a run that died are hidden, as metrics.jsonl cuts them.
            self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def log(self, entry: dict[str, Any]) -> None:
        """Write one line of metrics."""
        if self._writer is not None:
            for name, value in entry.items():
                if name != "step":
                    self._writer.add_scalar(name, value, entry["step"])

    def close(self) -> None:
        """Flush what is buffered."""
        if self._writer is not None:
            self._writer.close()
