"""A real pseudo-terminal: train with a live bar, chat, leave; and model text cannot command it."""

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from minigpt2 import save_pretrained
from minigpt2.model import Bigram, BigramConfig
from minigpt2.text import printable
from minigpt2.tokenizers import ByteTokenizer

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
            preexec_fn=lambda: os.login_tty(os.dup(child)),  # so that Ctrl-C is a signal
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

    def resize(self, rows, columns):
        import fcntl
        import struct
        import termios

        size = struct.pack("HHHH", rows, columns, 0, 0)
        fcntl.ioctl(self.main, termios.TIOCSWINSZ, size)
        os.kill(self.process.pid, signal.SIGWINCH)

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
        "train", "mine.txt", "--preset", "tiny-byte", "--training.max-steps", "50",
        "--model.n-layer", "2", "--model.n-embd", "64", "--training.attention", "explicit",
        "--training.dtype", "float32", "--logging.sample-interval", "25", "--chat",
    )  # fmt: skip
    terminal.resize(7, 20)  # hardly a window at all, while it trains
    terminal.read_until("\n")
    terminal.resize(30, 90)
    trained = terminal.read_until("'quit' leaves")
    assert "━" in trained and "validation loss" in trained  # the bar, the result
    assert "●" in trained and "it writes" in trained  # the curve, the sample
    terminal.read_until(PROMPT)
    terminal.type("All work\r")
    answer = terminal.read_until(PROMPT)
    assert len(answer) > 200
    terminal.type("quit\r")
    assert terminal.process.wait(timeout=30) == 0


@pytest.fixture
def emoji_model(tmp_path):
    """A byte model that writes one thing for ever: an emoji of four tokens, an escape sequence."""
    text = "😀\x1b[31m".encode()
    model = Bigram(BigramConfig(256, 64))
    for byte, following in zip(text, text[1:] + text[:1], strict=True):
        model.table.data[byte, following] = 100.0
    model.table.data[ord(":"), text[0]] = 100.0
    save_pretrained(model, ByteTokenizer(), tmp_path / "emoji")
    return "emoji"


def test_a_sitting_through_every_command(tmp_path, open_terminal, emoji_model):
    """One real terminal: commands, Ctrl-C, resizing, emoji over tokens, escapes in model text."""
    terminal = open_terminal("chat", emoji_model, "--max-new-tokens", "40")
    terminal.read_until(PROMPT)

    def say(line, until=PROMPT):
        terminal.type(line + "\r")
        return terminal.read_until(until)

    answer = say("go:")
    assert "😀␛[31m😀" in answer and "\ufffd" not in answer
    assert "/continue" in say("/help")
    assert "temperature = 0.5" in say("/set temperature 0.5")
    assert "seed = 7" in say("/seed 7")
    assert "max_new_tokens = 40" in say("/show")
    for command in ("/retry", "/continue"):
        assert "😀" in say(command)
    assert "shown" in say("/probs")
    assert "\x1b[32m" in say("/retry")  # coloured by us, not by the model
    say("/probs")
    assert "saved 1 turns" in say("/save talk.json")
    assert "forgotten: go:" in say("/undo")
    assert "loaded 1 turns" in say("/load talk.json")
    assert "emoji" in say("/model emoji")
    assert "did you mean /show?" in say("/sho")
    say("/new")
    terminal.resize(3, 1)
    say("go:")
    terminal.resize(40, 120)
    assert "go:" in say('"""go:\rgo:"""', "😀")
    terminal.read_until(PROMPT)
    say("/set max-new-tokens 1000000")
    terminal.type("go:\r")
    terminal.read_until("😀␛[31m😀")
    terminal.type("\x03")  # Ctrl-C
    assert "(stopped" in terminal.read_until(PROMPT)
    terminal.type("half a line\x03")
    terminal.read_until(PROMPT)
    terminal.type("\x1b[A")  # the line before, from the history
    terminal.read_until("go:")
    terminal.type("\x03")
    terminal.read_until(PROMPT)
    terminal.type("\x04")  # Ctrl-D
    assert terminal.process.wait(timeout=30) == 0
    history = Path(os.environ["XDG_CACHE_HOME"]) / "minigpt2/chat_history"
    assert "+go:" in history.read_text()


def test_history_is_kept_between_sittings(open_terminal, emoji_model):
    for first in (True, False):
        terminal = open_terminal("chat", emoji_model, "--max-new-tokens", "1")
        terminal.read_until(PROMPT)
        # Twice upwards: the last line was 'quit'.
        terminal.type("remember:\r" if first else "\x1b[A\x1b[A")
        terminal.read_until("remember:")
        terminal.type("" if first else "\x03")
        terminal.read_until(PROMPT)
        terminal.type("quit\r")
        assert terminal.process.wait(timeout=30) == 0


def test_without_colours_nothing_is_coloured(open_terminal, emoji_model, monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    terminal = open_terminal("generate", emoji_model, "--prompt", ":", "--show-probs",
                             "--max-new-tokens", "9")  # fmt: skip
    shown = terminal.read_until("tokens/s")
    assert "😀[100]␛[100][[100]3[100]1[100]m[100]" in shown and "\x1b[32m" not in shown


def test_control_characters_are_shown_not_obeyed():
    assert printable("\x1b]0;title\x07\x9b2J\u202e") == "␛]0;title␇\ufffd2J\ufffd"
    assert printable("héllo\n\t😀") == "héllo\n\t😀"
