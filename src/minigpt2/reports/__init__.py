"""What runs have logged, as pictures and as a page."""

# ruff: noqa: F401 (this is the room's front: the names that others import from it)

from minigpt2.reports.figures import COLOURS, draw_curves
from minigpt2.reports.page import write_report
