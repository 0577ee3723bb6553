"""Write a text in which names recur: each line has four names of its own, made up, in any order.

    python results/induction-head/names.py names.txt

What a name is can be known only from the line: after its first letters the rest is to be copied.
"""

import random
import string
import sys
from pathlib import Path

LETTERS = string.ascii_letters + string.digits  # so many that few letters stand in two names
draw = random.Random(1337)
lines = []
for _ in range(12_000):
    names = ["".join(draw.choices(LETTERS, k=draw.randint(4, 8))) for _ in range(4)]
    lines.append(" ".join(draw.choices(names, k=16)) + "\n")
Path(sys.argv[1]).write_text("".join(lines), encoding="utf-8")
