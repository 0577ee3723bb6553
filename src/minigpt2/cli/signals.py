"""Ask a loop to stop: the first signal lets it finish and save, the second leaves at once."""

import contextlib
import signal
import sys
from types import FrameType


class StopRequest(contextlib.ExitStack):
    """Within the context SIGINT, SIGTERM and SIGHUP are remembered instead of obeyed."""

    signal: int | None = None

    def asked(self) -> bool:
        """Say whether a signal came."""
        return self.signal is not None

    def __enter__(self) -> "StopRequest":
        self._caught: list[int] = []
        for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # Windows has no SIGHUP
            number = getattr(signal, name, None)
            # A signal that is ignored already (nohup) stays ignored.
            if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
                self._caught.append(number)
                self.callback(signal.signal, number, signal.signal(number, self._remember))
        return self

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.signal = int(number)
        for caught in self._caught:
            signal.signal(caught, signal.SIG_DFL)  # the second one leaves at once
        print("\nstopping after this step; once more leaves at once", file=sys.stderr)
