"""What runs have logged, as pictures and as a page."""

from minigpt2.reports.curves import Log
from minigpt2.reports.figures import COLOURS, draw_curves
from minigpt2.reports.page import write_report

__all__ = ["COLOURS", "Log", "draw_curves", "write_report"]
