"""Models with random weights, and a real server for them on a thread beside the tests."""

import contextlib
import threading
import time

import pytest
import torch
from tests.server import browsing

from minigpt2 import from_pretrained
from minigpt2.model import GPT2, GPT2Config
from minigpt2.sampling import Sampling
from minigpt2.server.listening import Server, bind
from minigpt2.server.runs import Runs
from minigpt2.server.worker import Worker
from minigpt2.tokenizers import TRANSCRIPT, ByteTokenizer, CharTokenizer, make_tokenizer

TEXT = "the quick brown fox jumps over the lazy dog.\n" * 60


def random_model(vocab_size, block_size=37, seed=7):
    torch.manual_seed(seed)
    model = GPT2(GPT2Config(vocab_size, block_size, n_layer=2, n_head=3, n_embd=21)).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def char_model():
    tokenizer = CharTokenizer(sorted("abcdefghijklmnopqrstuvwxyz \n."))
    return random_model(29), tokenizer


def bpe_model():
    tokenizer = make_tokenizer("bpe:283", [TEXT])
    return random_model(tokenizer.vocab_size), tokenizer


def chat_model():
    tokenizer = ByteTokenizer(("<|endoftext|>",))
    tokenizer.chat_template = TRANSCRIPT
    return random_model(257, 131), tokenizer


class Serving:
    """A server that runs: where, with which models, and how to look inside."""

    def __init__(self, server, url, workers):
        self.server, self.url, self.workers = server, url, workers
        self.port = int(url.rpartition(":")[2])

    def idle(self, within=2.0):
        """Say whether nothing is left to do within some seconds."""
        until = time.monotonic() + within
        while any(worker.taken or worker._jobs for worker in self.workers.values()):
            if time.monotonic() > until:
                return False
            time.sleep(0.002)
        return True


@contextlib.contextmanager
def run_server(models, slots=5, queue=64, max_tokens=16, overflow="error", runs=None, **guarded):
    defaults = Sampling(max_tokens, temperature=1.0, overflow=overflow)
    workers = {
        name: Worker(name, lambda opened=opened: opened, slots, queue)
        for name, opened in models.items()
    }
    listening = bind("127.0.0.1", 0)
    port = listening.getsockname()[1]
    runs = runs or Runs({}, None)
    server = Server(workers, defaults, runs, **guarded)
    thread = threading.Thread(target=server.serve_until_stopped, args=(listening,))
    thread.start()
    try:
        while not all(worker.ready for worker in workers.values()):
            time.sleep(0.001)
        yield Serving(server, f"http://127.0.0.1:{port}", workers)
    finally:
        server.should_exit = True
        thread.join(10)
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def models():
    return {"fox": char_model(), "words": bpe_model(), "talk": chat_model()}


@pytest.fixture(scope="module")
def served(models):
    with run_server(models) as running:
        yield running


@pytest.fixture(scope="module")
def packaged():
    """The model that the browser's servers have, and its tokenizer."""
    model, tokenizer = from_pretrained(browsing.ROOT / "src/minigpt2/pretrained")
    return model.eval(), tokenizer


@pytest.fixture
def serving():
    """A server of a test's own: `with serving(models, slots=..., token=...) as running`."""
    return run_server


@pytest.fixture(scope="module")
def sliding():
    with browsing.serving(browsing.SLIDING) as address:
        yield address


@pytest.fixture(scope="module")
def refusing():
    with browsing.serving(browsing.REFUSING) as address:
        yield address


@pytest.fixture(scope="module")
def browser():
    playwright = pytest.importorskip("playwright.sync_api")
    with playwright.sync_playwright() as started:
        browser = started.chromium.launch(executable_path=browsing.BROWSER, args=browsing.SWITCHES)
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Open pages that may ask their own server alone, and complain of nothing."""
    contexts, faults = [], []

    def open_(address, state="", expected=(), script="", **options):
        context = browser.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        context.add_init_script(browsing.WATCH + script)
        page = context.new_page()
        origin = address.rstrip("/")
        page.on("pageerror", lambda error: faults.append(f"error: {error}"))
        page.on("dialog", lambda dialog: (faults.append("a dialog"), dialog.dismiss()))
        page.on(
            "console",
            lambda m: (
                m.type in ("error", "warning")
                and not any(text in m.text for text in ("503", *expected))  # it may be loading
                and faults.append(m.text)
            ),
        )
        page.on("request", lambda r: r.url.startswith(origin) or faults.append(r.url))
        page.goto(f"{address}#{state}")
        page.wait_for_selector("main, dialog[open]")
        return page

    yield open_
    for context in contexts:
        for page in context.pages:
            faults += page.evaluate("window.violations")
        context.close()
    assert not faults
