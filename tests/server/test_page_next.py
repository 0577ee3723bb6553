"""What the page makes of the model's logits: exactly what the engine makes of them."""

import itertools
import json
import shutil
import subprocess

import pytest
import torch
from tests.server.browsing import address_of, needs_browser, wait_until
from tests.server.test_page_sources import WEB

import minigpt2
from minigpt2.generation.logits import filter_logits
from minigpt2.interop.opening import PRETRAINED
from minigpt2.sampling import Sampling

TEXT = "ROMEO:\nO Romeo, Romeo! where"
SETTINGS = ["temperature", "top_k", "top_p", "min_p"]
GRID = [
    dict(zip(SETTINGS, values, strict=True))
    for values in itertools.product(
        (0.05, 0.7, 1, 2), (0, 1, 5, 40, 200), (1, 0.99, 0.9, 0.5, 0.01), (0, 0.02, 0.5, 1)
    )
]
SCRIPT = """
import {{ distributions }} from {module};
const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const {{ rows, grid }} = JSON.parse(Buffer.concat(chunks));
const after = (row, settings) => [...distributions(Float32Array.from(row), settings).after];
const answer = rows.map((row) => grid.map((settings) => after(row, settings)));
process.stdout.write(JSON.stringify(answer));
"""


def forward(text):
    """Return the small model's logits after a text, and its tokenizer."""
    model, tokenizer = minigpt2.from_pretrained(PRETRAINED)
    with torch.no_grad():
        return model.eval()(torch.tensor([tokenizer.encode(text)]))[:, -1], tokenizer


def engine(logits_1V, settings):
    """Return the distribution that the engine draws from."""
    s = {**settings, "top_k": settings["top_k"] or None}
    if s["temperature"] == 0:
        return torch.nn.functional.one_hot(logits_1V.argmax(1), logits_1V.shape[1]).double()[0]
    return filter_logits(logits_1V, Sampling(**s)).double().softmax(1)[0]


@pytest.mark.skipif(not shutil.which("node"), reason="Node is not on PATH")
def test_the_settings_leave_what_the_engine_leaves():
    torch.manual_seed(3)
    real = [forward(text)[0] for text in (TEXT, "ROMEO")]
    alike = torch.randint(-4, 5, (1, 97)).float()  # several tokens of every logit
    rows = [*real, 6 * torch.randn(1, 1009), torch.zeros(1, 7), alike]
    grid = [*GRID, {"temperature": 0, "top_k": 3, "top_p": 0.5, "min_p": 0}]
    script = SCRIPT.format(module=json.dumps((WEB / "src/look/sampling.js").as_uri()))
    given = json.dumps({"rows": [row[0].tolist() for row in rows], "grid": grid})
    line = ["node", "--input-type=module", "-e", script]
    done = subprocess.run(line, input=given, capture_output=True, text=True, check=True)
    for row, answers in zip(rows, json.loads(done.stdout), strict=True):
        for settings, answer in zip(grid, answers, strict=True):
            ours, theirs = torch.tensor(answer, dtype=torch.float64), engine(row, settings)
            if row is alike:  # which of its likes top-p leaves out is up to the sort
                ours, theirs = ours.sort().values, theirs.sort().values
            assert torch.equal(ours > 0, theirs > 0), settings
            torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)


def rows_of(page):
    """Return what the table says: token, exact probability before and after."""
    return page.evaluate(
        "[...document.querySelectorAll('.candidates tbody tr:not(.cut)')].map((tr) => ["
        "tr.cells[0].innerText, Number(tr.cells[2].title), Number(tr.cells[3].title)])"
    )


class TestPage:
    pytestmark = needs_browser

    def test_the_table_shows_the_true_numbers(self, sliding, open_page):
        settings = {"temperature": 0.65, "top_k": 9, "top_p": 0.9, "min_p": 0.01}
        page = open_page(sliding, address_of(view="next", text=TEXT, **settings))
        page.wait_for_selector(".candidates")
        logits_1V, tokenizer = forward(TEXT)
        before, after = logits_1V.double().softmax(1)[0], engine(logits_1V, settings)
        ids = logits_1V[0].topk(20).indices
        shown = rows_of(page)[:20]
        texts = [row[0].replace("·", " ").replace("⏎", "\n") for row in shown]
        assert texts == [tokenizer.decode([i]) for i in ids.tolist()]
        numbers = torch.tensor([row[1:] for row in shown], dtype=torch.float64)
        torch.testing.assert_close(numbers, torch.stack([before, after], 1)[ids], atol=1e-5, rtol=0)
        left = int((after > 0).sum())
        said = page.locator(".seen [role=status]").inner_text()
        assert said.startswith(f"{left} of {len(after)} token")
        assert f"{100 * float(before[after > 0].sum()):.2f} %" in said
        entropies = [float(-(p[p > 0] * p[p > 0].log2()).sum()) for p in (before, after)]
        assert "Entropy: {:.2f} bits before, {:.2f} after".format(*entropies) in said
        cut = page.evaluate(
            "[...document.querySelectorAll('.candidates tbody tr')]"
            ".findIndex((tr) => tr.className === 'cut')"
        )
        assert cut == left

    def test_a_slider_asks_for_nothing_and_is_that_of_write(self, sliding, open_page):
        page = open_page(sliding, address_of(view="next", text=TEXT))
        page.wait_for_selector(".candidates")
        asked = []
        page.on("request", lambda request: asked.append(request.url))
        page.get_by_role("slider", name="Top-k").fill("3")
        said = page.locator(".seen [role=status]")
        wait_until(page, lambda: said.inner_text().startswith("3 of 512 tokens remain"))
        assert not asked
        page.get_by_role("slider", name="Temperature").fill("0")
        wait_until(page, lambda: said.inner_text().startswith("1 of 512 token remains"))
        page.get_by_role("link", name="Write").click()
        assert page.get_by_role("slider", name="Top-k").input_value() == "3"
        page.get_by_role("slider", name="Top-k").fill("7")
        page.get_by_role("slider", name="Temperature").fill("1")
        page.get_by_role("link", name="Next token").click()
        wait_until(page, lambda: said.inner_text().startswith("7 of 512 tokens remain"))

    def test_a_text_is_written_token_by_token(self, sliding, open_page):
        page = open_page(sliding, address_of(view="next", text=TEXT, temperature=0))
        page.wait_for_selector(".candidates")
        text = TEXT
        for _ in range(3):
            logits_1V, tokenizer = forward(text)
            text += tokenizer.decode([int(logits_1V.argmax())])
            page.locator(".candidates button").first.focus()
            page.keyboard.press("Enter")
            wait_until(page, lambda: page.locator("[aria-busy=true]").count() == 0)
            page.wait_for_timeout(300)
            assert page.get_by_label("Text to look at").input_value() == text

    def test_the_table_goes_on_within_its_own_scroll(self, sliding, open_page):
        page = open_page(sliding, address_of(view="next", text=TEXT))
        page.wait_for_selector(".candidates")
        assert len(rows_of(page)) == 200
        assert page.locator(".scrolled").bounding_box()["height"] < 800
