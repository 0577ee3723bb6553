"""Text as it is written: piece by piece, in a terminal made safe, if wished with probabilities."""

import math

from rich.console import Console
from rich.text import Text

from minigpt2.generation import Piece
from minigpt2.text import printable

# From which probability on a token is shown how.
_STYLES = ((0.5, "green"), (0.1, "yellow"), (0.01, "dark_orange"), (0.0, "red"))


class Writing:
    """Shows pieces on a console; a pipe gets the text as it is.

    With `probabilities` each piece is coloured by how probable the model held it, or, without
    colours, followed by that in per cent. Pieces need log-probabilities for that.
    """

    def __init__(self, out: Console, probabilities: bool = False) -> None:
        self._out, self._probabilities = out, probabilities
        self._least = 0.0  # log-probability of what is held back
        self._spoken = False

    def text(self, text: str) -> None:
        """Show text that the model did not write."""
        self._show(text, "")

    def piece(self, piece: Piece) -> None:
        """Show what a step brought."""
        if piece.token is not None and piece.token.logprob is not None:
            self._least = min(self._least, piece.token.logprob)
        if not piece.text:
            return
        if self._probabilities:
            probability, self._least = math.exp(self._least), 0.0
            style = next(style for least, style in _STYLES if probability >= least)
            plain = self._out.color_system is None
            self._show(piece.text + f"[{100 * probability:.0f}]" * plain, style)
        else:
            self._show(piece.text, "")

    def legend(self) -> Text | None:
        """Return what the colours mean, if there are any."""
        if not self._probabilities or self._out.color_system is None:
            return None
        names = [(f" {100 * least:g} % and more ", style) for least, style in _STYLES[:-1]]
        return Text.assemble("how probable: ", *names, (" less ", _STYLES[-1][1]))

    def _show(self, text: str, style: str) -> None:
        if self._out.is_terminal:
            text = printable(text)
        if style and self._out.color_system is not None:
            self._out.print(Text(text, style), end="", soft_wrap=True)
        else:
            self._out.file.write(text)
        self._out.file.flush()
