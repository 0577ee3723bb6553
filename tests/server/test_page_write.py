"""Colours of surprise, alternatives and two models side by side, in a real browser."""

import json
import math
import re
import shutil

import pytest
import torch
from tests.server.browsing import (
    PAYLOADS,
    SLIDING,
    address_of,
    busy_with,
    contrast,
    idle,
    needs_browser,
    press,
    serving,
    text_of,
    wait_until,
    written,
)  # fmt: skip

from minigpt2 import from_pretrained
from minigpt2.interop.opening import PRETRAINED

pytestmark = needs_browser

TEXT = "ROMEO:\nBut soft, what café 😀 light breaks?"
PHONE = {"viewport": {"width": 360, "height": 740}, "has_touch": True}
COLOURED = """[...CSS.highlights].flatMap(([name, highlight]) => name.startsWith("surprise-")
  ? [...highlight].map((range) => [range.toString(), Number(name.at(-1))]) : [])"""


@pytest.fixture(scope="module")
def twice(tmp_path_factory):
    """The address of a server of one model under two names."""
    folder = tmp_path_factory.mktemp("models")
    paths = [str(shutil.copytree(PRETRAINED, folder / name)) for name in ("one", "two")]
    with serving([*SLIDING, *paths]) as address:
        yield address


@pytest.fixture(scope="module")
def expected():
    """What a plain forward says of a text: [(characters, bits, ids, log-probabilities)]."""
    model, tokenizer = from_pretrained(str(PRETRAINED))

    def spans(text):
        ids = tokenizer.encode(text)
        with torch.no_grad():
            logprobs = model(torch.tensor([ids]))[0].log_softmax(-1)
        found, pending = [], []
        for place, token in enumerate(ids):
            pending.append((token, logprobs[place - 1] if place else None))
            try:
                shown = tokenizer.decode_bytes([token for token, _ in pending]).decode()
            except UnicodeDecodeError:
                continue
            nats = [row[token].item() for token, row in pending if row is not None]
            bits = -sum(nats) / math.log(2) if len(nats) == len(pending) else None
            found.append((shown, bits, *pending[0]))
            pending = []
        return found

    return spans, tokenizer


def coloured(page, text=None):
    """Wait until all of a text is coloured, and return its tokens with their levels."""
    wanted = text_of(page) if text is None else text
    joined = lambda: "".join(token for token, _ in page.evaluate(COLOURED))  # noqa: E731
    wait_until(page, lambda: sorted(joined()) == sorted(wanted))
    return page.evaluate(COLOURED)


def open_list(page, right=0):
    """Show the alternatives of the text's first token, or of one further right, by keyboard."""
    page.focus("textarea")
    page.keyboard.press("Control+Home")
    page.keyboard.press("Alt+ArrowDown")
    page.wait_for_selector(".peek")
    for _ in range(right):
        page.keyboard.press("ArrowRight")


def rows(page):
    """Return the alternatives as they are shown: [(text, probability)]."""
    told = page.locator(".peek button").evaluate_all(
        "all => all.map(e => [e.querySelector('code').textContent, e.lastChild.textContent])"
    )
    return [(text, float(share.strip("<% ")) / 100) for text, share in told]


def test_bits_and_alternatives_are_those_of_a_plain_forward(twice, open_page, expected):
    spans, tokenizer = expected
    page = open_page(twice, address_of(prompt=TEXT, surprise=1))
    tokens = coloured(page)
    levels = sorted([shown, min(6, int((bits or 0) / 2))] for shown, bits, *_ in spans(TEXT))
    assert sorted(tokens) == levels
    open_list(page)
    assert "first token in sight" in page.inner_text(".peek")
    for shown, bits, token, row in spans(TEXT)[1:]:
        page.keyboard.press("ArrowRight")
        assert float(page.inner_text(".peek .bits")) == pytest.approx(bits, abs=0.006), shown
        best = row.exp().topk(10)
        told = rows(page)
        for (text, share), value, other in zip(told, best.values, best.indices, strict=False):
            assert share == pytest.approx(value.item(), rel=0.006, abs=1e-7)
            spelt = tokenizer.decode_bytes([other.item()])
            assert text == spelt.decode("utf-8", "backslashreplace").replace(" ", "·").replace(
                "\n", "⏎"
            )
        among = token in best.indices.tolist()
        assert len(told) == (10 if among else 11)
        rank = f"rank {best.indices.tolist().index(token) + 1}" if among else "not among the 10"
        assert rank in page.inner_text(".peek p >> nth=0")
        assert page.locator(".peek .chosen").count() == 1
    assert page.inner_text(".peek b >> nth=0") == shown


def test_colours_come_while_text_streams_and_with_every_change(sliding, open_page, expected):
    spans, _ = expected
    page = open_page(sliding, address_of(prompt=TEXT, surprise=1, length=2000))
    press(page, "Write")
    wait_until(page, lambda: len(page.evaluate(COLOURED)) > 100)
    assert page.get_by_role("button", name="Stop").count()  # it is still writing
    wait_until(page, lambda: any(token == "ROMEO:"[0] for token, _ in page.evaluate(COLOURED)))
    page.keyboard.press("Escape")
    idle(page)
    for text in ("To be, or not", "To be, or naught", "😀é To be, or naught"):
        page.fill("textarea", text)
        coloured(page)
        page.keyboard.press("Control+End")
        page.keyboard.press("Alt+ArrowDown")
        shown = float(page.inner_text(".peek .bits"))
        assert shown == pytest.approx(spans(text)[-1][1], abs=0.006)
        page.keyboard.press("Escape")
    assert page.locator(".peek").count() == 0
    page.get_by_label("Surprise").uncheck()
    wait_until(page, lambda: page.evaluate(COLOURED) == [])
    wait_until(page, lambda: "surprise" not in page.url)


def test_streamed_colours_are_those_measured_afterwards(twice, open_page):
    page = open_page(twice, address_of(prompt="ROMEO:", surprise=1, length=200, seed=3))
    page.evaluate(
        f"""window.seen = []; new MutationObserver(() => requestAnimationFrame(() =>
        requestAnimationFrame(() => seen.push(JSON.stringify({COLOURED}))))).observe(
        document.querySelector('.ink'), {{subtree: true, childList: true, characterData: true}})"""
    )
    press(page, "Write")
    written(page, 6)
    idle(page)
    page.wait_for_timeout(100)  # before it is measured anew
    streamed = coloured(page)
    page.wait_for_timeout(1000)
    measured = coloured(page)
    assert {token for token, _ in streamed} == {token for token, _ in measured}
    assert sum(a != b for a, b in zip(sorted(streamed), sorted(measured), strict=True)) <= 1
    assert len(set(page.evaluate("seen"))) > 3


def test_only_what_the_model_sees_is_coloured(sliding, open_page):
    text = "Now is the winter of our discontent made glorious. " * 40
    page = open_page(sliding, address_of(surprise=1))
    page.fill("textarea", text)
    tokens = wait_until(page, lambda: page.evaluate(COLOURED))
    assert 200 < len(tokens) <= 256
    assert 0 < sum(len(token) for token, _ in tokens) < len(text)


def test_letters_lie_over_their_ink_in_colours(sliding, open_page):
    text = "ab c  \t" * 5 + "\n\n" + "office AVAT " * 12 + "😀é漢字" * 3 + "\n\n"
    for width in (360, 761, 1280):
        page = open_page(sliding, viewport={"width": width, "height": 740})
        page.fill("textarea", text)
        boxes = """(([ink, span]) => [...span.getClientRects()].map((box) => [box.x,
          box.y - ink.getBoundingClientRect().y, box.width, box.height]))(
          document.querySelectorAll(".ink, .ink span"))"""
        wait_until(page, lambda page=page: page.inner_text(".ink").startswith("ab c"))
        plain = page.evaluate(boxes)
        if width == 360:
            press(page, "Settings")
        page.get_by_label("Surprise").check()
        if width == 360:
            press(page, "Settings")
        coloured(page)
        assert page.evaluate(boxes) == plain
        assert page.locator(".ink span").count() == 1  # no elements part the letters
        layers = "['textarea', '.ink'].map((s) => document.querySelector(s).scrollHeight)"
        tall = page.evaluate(layers)
        assert abs(tall[0] - tall[1]) <= 1


def test_colours_leave_the_letters_readable(sliding, open_page):
    for scheme in ("light", "dark"):
        page = open_page(sliding, address_of(surprise=1), color_scheme=scheme)
        page.evaluate(
            "(() => { const c = document.createElement('canvas').getContext('2d');"
            "const style = (s) => getComputedStyle(document.querySelector(s)).backgroundColor;"
            "c.fillStyle = style('.sheet'); c.fillRect(0, 0, 1, 1);"
            "c.fillStyle = style('.level-6'); c.fillRect(0, 0, 1, 1);"
            "const hex = [...c.getImageData(0, 0, 1, 1).data].slice(0, 3).map("
            "(n) => n.toString(16).padStart(2, '0')).join('');"
            "document.body.style.setProperty('--sheet', '#' + hex); })()"
        )
        on_sheet = {pair: ratio for pair, ratio in contrast(page) if pair[1] == "sheet"}
        assert on_sheet["ink", "sheet"] >= 4.5 and on_sheet["accent", "sheet"] >= 4.5, on_sheet


def middle_of(page, words):
    """Return the middle of some words of the first paper, on the screen."""
    return page.evaluate(
        """(words) => { for (const { firstChild: node } of document.querySelectorAll(".ink span")) {
          const at = node.data.indexOf(words); if (at < 0) continue;
          const range = new Range();
          range.setStart(node, at); range.setEnd(node, at + words.length);
          const box = range.getBoundingClientRect();
          return [box.x + box.width / 2, box.y + box.height / 2]; } }""",
        words,
    )


@pytest.mark.parametrize("how", ["mouse", "touch"])
def test_branching_cuts_and_goes_on_and_undo_undoes(sliding, open_page, how):
    state = address_of(prompt=TEXT, surprise=1, length=30, temperature=0.5)
    page = open_page(sliding, state, **(PHONE if how == "touch" else {}))
    coloured(page)
    x, y = middle_of(page, "what")
    if how == "touch":
        page.touchscreen.tap(x, y)
    else:
        page.mouse.move(x, y)
    page.wait_for_selector(".peek")
    assert "what" in page.inner_text(".peek b >> nth=0")
    box = page.locator(".peek").bounding_box()
    assert box["x"] >= 0 and box["x"] + box["width"] <= page.viewport_size["width"]
    assert box["y"] + box["height"] <= page.viewport_size["height"]
    row = page.locator(".peek button:not(.chosen) >> nth=1")
    piece = row.locator("code").inner_text().replace("·", " ").replace("⏎", "\n")
    (row.tap if how == "touch" else row.click)()
    start = TEXT[: TEXT.index(" what")] + piece
    assert written(page, len(start)).startswith(start)
    text = idle(page)
    assert text != TEXT and page.locator(".peek").count() == 0
    model = page.locator(".ink .model").all_text_contents()
    assert "".join(model) == text[len(start) - len(piece) :]  # the alternative is the model's
    press(page, "Undo")
    assert wait_until(page, lambda: text_of(page) == TEXT)
    assert len(coloured(page)) > 20


def test_alternatives_by_keyboard_alone(sliding, open_page):
    page = open_page(sliding, address_of(prompt="ROMEO:\nBut soft", surprise=1, length=2000))
    coloured(page)
    page.keyboard.press("Control+End")
    page.keyboard.press("Alt+ArrowDown")
    page.wait_for_selector(".peek .chosen:focus")
    last = page.inner_text(".peek b >> nth=0")
    page.keyboard.press("ArrowLeft")
    wait_until(page, lambda: page.inner_text(".peek b >> nth=0") != last)
    page.keyboard.press("ArrowRight")
    wait_until(page, lambda: page.inner_text(".peek b >> nth=0") == last)
    page.keyboard.press("Escape")
    assert page.locator(".peek").count() == 0
    assert page.evaluate("document.activeElement.tagName") == "TEXTAREA"
    page.keyboard.press("Alt+ArrowDown")
    page.wait_for_selector(".peek .chosen:focus")
    for _ in range(12):
        page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowDown")
    piece = page.inner_text(".peek button:focus code").replace("·", " ").replace("⏎", "\n")
    page.keyboard.press("Enter")
    start = "ROMEO:\nBut soft"[: -len(last)] + piece
    assert written(page, len(start) + 40).startswith(start)
    page.keyboard.press("Alt+ArrowDown")  # also while it writes
    page.wait_for_selector(".peek")
    page.keyboard.press("Escape")
    assert page.get_by_role("button", name="Stop").count()  # the first closes the list only
    page.keyboard.press("Escape")
    idle(page)


def test_two_models_write_from_one_prompt_and_seed(twice, open_page):
    page = open_page(twice, address_of(prompt="ROMEO:", length=80, seed=11, surprise=1))
    page.get_by_label("Compare with").select_option("two")
    wait_until(page, lambda: "compare=two" in page.url)
    other = page.locator(".ink >> nth=1")
    texts = lambda: (text_of(page), other.text_content().replace("\u200b", ""))  # noqa: E731
    assert page.locator(".label b").all_inner_texts() == ["one", "two"]
    for name in ("Write", "Continue", "Regenerate"):
        press(page, name)
        page.wait_for_timeout(100)
        idle(page)
        mine, its = texts()
        assert mine == its and len(mine) > 100
    coloured(page, mine + its)  # both
    page.reload()
    wait_until(page, lambda: page.locator(".label").count() == 2)
    other.focus()  # it can be looked at by keyboard, and not changed
    page.wait_for_timeout(800)
    page.keyboard.press("Alt+ArrowDown")
    page.wait_for_selector(".peek button")
    assert page.locator(".peek button:not([aria-disabled=true])").count() == 0
    page.keyboard.press("Escape")
    page.get_by_label("Compare with").select_option("nothing")
    wait_until(page, lambda: page.locator(".ink").count() == 1 and "compare" not in page.url)


def test_both_models_write_at_once_and_stop_at_once(twice, open_page):
    page = open_page(twice, address_of(prompt="ROMEO:", length=2000, compare="two"))
    press(page, "Write")
    wait_until(page, lambda: busy_with(twice) == 2)
    other = page.locator(".ink >> nth=1")
    wait_until(page, lambda: len(other.text_content()) > 40 and len(text_of(page)) > 40)
    page.keyboard.press("Escape")
    wait_until(page, lambda: busy_with(twice) == 0, seconds=1)
    text = idle(page)
    its = other.text_content()
    page.wait_for_timeout(300)
    assert (text_of(page), other.text_content()) == (text, its)


def test_steps_that_were_kept_are_offered(twice, open_page):
    page = open_page(twice, address_of(prompt="ROMEO:", length=9, model="one"))
    listed = page.evaluate("fetch('v1/models').then((answer) => answer.json())")
    listed["data"][0]["minigpt2"]["history"] = [0, 10, 250]
    page.route("**/v1/models", lambda route: route.fulfill(json=listed))
    asked = []

    def answer(route):
        request = route.request.post_data_json
        asked.append(request["model"])
        route.continue_(post_data=json.dumps({**request, "model": "one"}))

    page.route(re.compile("/v1/completions|/tokenize"), answer)
    page.reload()
    choice = page.get_by_label("Compare with")
    choice.wait_for()
    options = choice.locator("option").all_text_contents()
    assert options == ["nothing", "two", "one@0", "one@10", "one@250"]
    choice.select_option("one@10")
    press(page, "Write")
    written(page, 6)
    idle(page)
    assert {"one", "one@10"} <= set(asked)


def test_two_sheets_on_a_narrow_screen_stand_below_each_other(twice, open_page):
    state = address_of(prompt="x" * 400, compare="two", surprise=1, length=20)
    page = open_page(twice, state, **PHONE)
    press(page, "Write")
    written(page, 400)
    idle(page)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    first, second = (page.locator(".paper").nth(i).bounding_box() for i in (0, 1))
    assert second["y"] >= first["y"] + first["height"] and second["x"] == first["x"]
    assert min(first["height"], second["height"]) > 150


def test_payloads_as_tokens_and_alternatives_are_text(refusing, open_page):
    page = open_page(refusing, address_of(surprise=1), expected=["400", "Failed to load resource"])
    told = []

    def answer(route):
        tops = {payload: -1.0 - i for i, payload in enumerate(told[-1:] + PAYLOADS[:9])}
        logprobs = {
            "tokens": ["a", told[-1]], "token_logprobs": [None, -1.0],
            "top_logprobs": [None, tops], "text_offset": [0, 1],
        }  # fmt: skip
        choice = {"index": 0, "text": "a" + told[-1], "finish_reason": "length"}
        route.fulfill(json={"choices": [{**choice, "logprobs": logprobs}]})

    page.route("**/v1/completions", answer)
    for payload in PAYLOADS:
        told.append(payload)
        page.fill("textarea", "a" + payload)
        wait_until(page, lambda: len(page.evaluate(COLOURED)) == 2)
        page.keyboard.press("Control+End")
        page.keyboard.press("Alt+ArrowDown")
        page.wait_for_selector(".peek button")
        shown = payload.replace(" ", "·").replace("\n", "⏎")
        shown = re.sub(r"[\x00\r\u202e\ud7ff]", lambda unseen: f"\\u{ord(unseen[0]):04x}", shown)
        assert page.locator(".peek .chosen code").text_content() == shown
        inside = page.locator(".peek *").evaluate_all("all => all.map((e) => e.tagName)")
        assert set(inside) == {"P", "B", "SPAN", "DIV", "BUTTON", "I", "CODE"}
        page.keyboard.press("Escape")


def test_what_cannot_be_measured_is_said(refusing, open_page):
    page = open_page(refusing, address_of(surprise=1), expected=["429"])
    refuse = [True]

    def answer(route):
        error = {"error": {"message": "<b>not now</b>"}}
        route.fulfill(status=429, json=error) if refuse else route.continue_()

    page.route("**/v1/completions", answer)
    page.fill("textarea", "ROMEO:")
    wait_until(page, lambda: page.locator(".notice").count())
    assert "Not measured: <b>not now</b>" in page.inner_text(".notice")
    refuse.clear()
    press(page, "Try again")
    coloured(page)
    wait_until(page, lambda: page.locator(".notice").count() == 0)


def taken(page, kind):
    with page.expect_download() as download:
        press(page, kind)
    assert download.value.suggested_filename == f"write.{kind.lower()}"
    return download.value.path().read_bytes()


def test_the_view_says_what_it_is_and_is_taken_away(sliding, open_page, expected):
    spans, _ = expected
    page = open_page(sliding, address_of(prompt=TEXT, surprise=1, length=20, seed=4))
    assert page.inner_text("main h2") == "Write"
    assert page.inner_text(".question")[-1] == "?"
    press(page, "Write")
    written(page, len(TEXT) + 8)
    text = idle(page)
    page.wait_for_timeout(1000)  # measured anew
    assert page.inner_text(".inks").startswith("Ink: yours, the model’s")
    told = json.loads(taken(page, "JSON"))
    assert told["text"] == text and told["settings"]["seed"] == 4 and told["model"]
    parts = [(part["text"], part["by"]) for part in told["parts"]]
    assert parts == [(TEXT, "reader"), (text[len(TEXT) :], "model")]
    assert len(told["tokens"]) == len(spans(text))
    for token, (shown, bits, _, row) in zip(told["tokens"], spans(text), strict=True):
        assert token["text"] == shown
        assert token["bits"] == (bits and pytest.approx(bits, abs=1e-3))
        if row is not None:
            best = row.exp().max().item()
            assert token["alternatives"][0]["p"] == pytest.approx(best, rel=1e-3)


@pytest.mark.parametrize("size", [(1280, 800), (360, 740)])
def test_a_picture_has_the_colours_and_leaves_the_paper_its_room(sliding, open_page, size):
    view = {"width": size[0], "height": size[1]}
    page = open_page(sliding, address_of(prompt=TEXT * 30, surprise=1), viewport=view)
    wait_until(page, lambda: len(page.evaluate(COLOURED)) > 100)
    assert page.locator(".paper").bounding_box()["height"] > 0.6 * view["height"]
    page.locator(".paper").evaluate("e => e.scrollTo(0, 200)")
    colours = page.evaluate(
        """async (bytes) => { const blob = new Blob([new Uint8Array(bytes)]);
        const bitmap = await createImageBitmap(blob);
        const canvas = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
        canvas.drawImage(bitmap, 0, 0);
        const { data } = canvas.getImageData(0, 0, bitmap.width, bitmap.height);
        let heated = 0;
        for (let i = 0; i < data.length; i += 4) heated += data[i] - data[i + 2] > 60;
        return heated }""",
        list(taken(page, "PNG")),
    )
    assert colours > 2000  # of far more than the legend
    wait_until(page, lambda: len(page.evaluate(COLOURED)) > 100)  # as before
    assert page.locator(".ink [class*=level-]").count() == 0
    assert page.evaluate("violations") == []
