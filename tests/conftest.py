"""A private home, no network, and a tiny model whose every dimension is another number."""

import os
import signal
import socket

# Models this small are slower on two threads than on one; child processes inherit it.
os.environ["OMP_NUM_THREADS"] = "1"
# Children hear Ctrl-C as they would in a terminal, also where a script put us in the background.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

import pytest
import torch

from minigpt2.model import GPT2, GPT2Config
from minigpt2.tokenizers import CharTokenizer

# Prime or made of distinct primes, all different: a wrong axis cannot pass by accident.
TINY = GPT2Config(vocab_size=29, block_size=13, n_layer=2, n_head=3, n_embd=21)
TEXT = "the quick brown fox jumps over the lazy dog.\n" * 60


# Where data for tests lies; every other variable of ours would change what commands do.
KEPT = ("MINIGPT2_TINYSHAKESPEARE", "MINIGPT2_EVAL_SETS")


@pytest.fixture(autouse=True)
def private_home(tmp_path_factory, monkeypatch):
    home = tmp_path_factory.mktemp("home")
    for name in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(name, str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / "cache"))
    for name in list(os.environ):
        if name.startswith("MINIGPT2_") and name not in KEPT:
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def no_network(monkeypatch):
    def refuse(self, address):
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] != "127.0.0.1":
            raise AssertionError(f"a test reached for the network: {address}")
        return connect(self, address)

    connect = socket.socket.connect
    monkeypatch.setattr(socket.socket, "connect", refuse)


@pytest.fixture
def tiny():
    torch.manual_seed(7)
    model = GPT2(TINY).eval()
    for parameter in model.parameters():  # nothing at zero or one, where faults hide
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


@pytest.fixture
def tokenizer():
    """29 characters, as many as the tiny model knows."""
    return CharTokenizer(sorted("abcdefghijklmnopqrstuvwxyz \n."))


@pytest.fixture
def text_file(tmp_path):
    path = tmp_path / "fox.txt"
    path.write_text(TEXT, encoding="utf-8", newline="\n")
    return path
