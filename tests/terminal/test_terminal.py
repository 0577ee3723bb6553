"""A real pseudo-terminal: train with a live bar, chat, leave; and model text cannot command it."""

import os
import select
import subprocess
import sys
import time

import pytest

from minigpt2.text import printable

pytestmark = pytest.mark.skipif(os.name == "nt", reason="pseudo-terminals are Unix")


PROMPT = "\x1b[?2004h"  # a prompt turns bracketed paste on, whatever it looks like


class Terminal:
    """A child process on a pseudo-terminal of its own."""

    def __init__(self, *arguments, cwd):
        import fcntl
        import pty
        import struct
        import termios

        self.main, child = pty.openpty()
        rows_and_columns = struct.pack("HHHH", 30, 90, 0, 0)
        fcntl.ioctl(child, termios.TIOCSWINSZ, rows_and_columns)
        environment = {**os.environ, "TERM": "xterm-256color"}
        environment.pop("OMP_NUM_THREADS", None)  # a preset of real size wants every core
        self.process = subprocess.Popen(
            [sys.executable, "-m", "minigpt2", *arguments],
            stdin=child, stdout=child, stderr=child, cwd=cwd, env=environment,
            start_new_session=True,
        )  # fmt: skip
        os.close(child)
        self.screen = ""

    def read_until(self, text, seconds=120):
        end = time.monotonic() + seconds
        start = len(self.screen)
        while text not in self.screen[start:]:
            assert time.monotonic() < end, f"never saw {text!r} in {self.screen[-2000:]!r}"
            if select.select([self.main], [], [], 0.2)[0]:
                try:
                    data = os.read(self.main, 65536)
                except OSError:  # the child closed its end
                    break
                self.answer(data)
                self.screen += data.decode("utf-8", "replace")
        return self.screen[start:]

    def answer(self, data):
        if b"\x1b[6n" in data:  # prompt_toolkit asks where the cursor is
            os.write(self.main, b"\x1b[1;1R")

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self.main)

    def type(self, text):
        os.write(self.main, text.encode())


@pytest.fixture
def open_terminal(tmp_path):
    terminals = []
    yield lambda *line: terminals.append(Terminal(*line, cwd=tmp_path)) or terminals[-1]
    for terminal in terminals:
        terminal.close()


def test_train_chat_and_quit(tmp_path, open_terminal):
    (tmp_path / "mine.txt").write_text("All work and no play makes a dull day.\n" * 100)
    terminal = open_terminal(
        "train", "mine.txt", "--preset", "tiny-byte", "--training.max-steps", "50", "--chat",
    )  # fmt: skip
    trained = terminal.read_until("'quit' leaves")
    assert "━" in trained and "validation loss" in trained  # the bar, the result
    terminal.read_until(PROMPT)
    terminal.type("All work\r")
    answer = terminal.read_until(PROMPT)
    assert len(answer) > 200
    terminal.type("quit\r")
    assert terminal.process.wait(timeout=30) == 0


def test_control_characters_are_shown_not_obeyed():
    assert printable("\x1b]0;title\x07\x9b2J\u202e") == "␛]0;title␇\ufffd2J\ufffd"
    assert printable("héllo\n\t😀") == "héllo\n\t😀"
