"""The views that look inside, in a real browser: what all of them have in common."""

import base64
import json
import struct

import pytest
from tests.server.browsing import (
    PAYLOADS,
    address_of,
    contrast,
    needs_browser,
    press,
    wait_until,
)  # fmt: skip

pytestmark = needs_browser
REFUSED = ("400", "404", "429")  # as a browser says it

TITLES = {
    "next": "Next token", "attention": "Attention", "lens": "Logit lens", "runs": "Runs",
    "ablate": "Ablate", "walk": "Walk",
}  # fmt: skip
LOOKING = [view for view in TITLES if view != "runs"]
TEXT = "ROMEO:\nO Romeo, Romeo!"


def wide(page):
    return page.evaluate(
        "Math.max(document.documentElement.scrollWidth, document.body.scrollWidth)"
    )


def unnamed(page):
    return page.evaluate(
        "[...document.querySelectorAll('input, textarea, select, button, canvas, [tabindex]')]"
        ".filter(e => !e.labels?.length && !e.ariaLabel && !e.textContent)"
        ".filter(e => e.ariaHidden !== 'true').map(e => e.outerHTML)"
    )


def test_every_view_is_reached_by_keyboard(sliding, open_page):
    page = open_page(sliding, address_of(text=TEXT))
    page.get_by_role("link", name="Write", exact=True).focus()
    for view, title in TITLES.items():
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        wait_until(page, lambda view=view: f"view={view}" in page.url)
        page.wait_for_selector("h2 >> text=" + title)
        assert page.title().split(" – ")[0] in title
        assert page.locator("[aria-current=page]").count() == 1
        assert len(page.inner_text(".question")) > 20 and page.inner_text(".question")[-1] == "?"
        assert page.inner_text(".legend")
        assert not unnamed(page)
        if view in LOOKING:
            assert page.get_by_label("Text to look at").input_value() == TEXT


@pytest.mark.parametrize("view", TITLES)
def test_a_narrow_screen_scrolls_in_one_direction(sliding, open_page, view):
    state = address_of(view=view, text=TEXT + "x" * 100)
    page = open_page(sliding, state, viewport={"width": 360, "height": 740})
    page.wait_for_selector(".frame")
    page.wait_for_timeout(1000)
    assert wide(page) <= 360
    assert page.evaluate("document.querySelector('.look').scrollWidth") <= 360


def test_dark_and_light_differ_and_can_be_read(sliding, open_page):
    for scheme in ("light", "dark"):
        page = open_page(sliding, address_of(view="attention"), color_scheme=scheme)
        page.wait_for_selector(".frame")
        assert all(ratio >= 4.5 for _, ratio in contrast(page)), dict(contrast(page))


def test_what_was_written_is_looked_at(sliding, open_page):
    page = open_page(sliding, address_of(prompt="Once more, " * 30 + "dear friends"))
    page.get_by_role("link", name="Attention").click()
    text = page.get_by_label("Text to look at")
    assert text.input_value() == "Once more, " * 17 + "dear friends"  # 200 letters, whole words
    text.fill(TEXT)
    wait_until(page, lambda: "ROMEO" in page.url)
    page.get_by_role("link", name="Walk").click()
    assert text.input_value() == TEXT
    page.get_by_role("link", name="Write", exact=True).click()
    assert page.input_value("textarea").endswith("dear friends")  # the draft is as it was
    page.reload()
    page.get_by_role("link", name="Attention").click()
    assert text.input_value() == TEXT
    page.get_by_role("link", name="Write", exact=True).click()
    page.locator("textarea").fill("close the wall up")  # what is changed there is looked at
    page.get_by_role("link", name="Attention").click()
    wait_until(page, lambda: text.input_value() == "close the wall up")


def test_a_text_is_made_fit_to_be_looked_at(sliding, open_page):
    text = "We few, " * 90 + "we happy few"
    page = open_page(sliding, address_of(view="next", text=text), REFUSED)
    page.get_by_role("button", name="Take its end").click()
    page.wait_for_selector(".seen")
    end = page.locator(".looked textarea").input_value()
    assert text.endswith(" " + end) and len(end) > 200


def test_what_an_address_names_in_vain_is_said(sliding, open_page):
    page = open_page(sliding, address_of(view="next", text=TEXT, model="<b>none", step=7))
    assert "There is no model “<b>none” here" in page.inner_text("[role=alert]")
    page.get_by_role("button", name="All right").click()
    wait_until(page, lambda: "none" not in page.url and "step" not in page.url)
    assert page.locator("[role=alert]").count() == 0


def told(route, asked=None):
    """Answer as the API does, with made-up numbers: the tokens are letters."""
    body = route.request.post_data_json
    if asked is not None:
        asked.append(body)
    texts = list(body["prompt"]) or [""]
    likeliest = {"ids": [2, 0, 1], "texts": [" c", "a", "\n"]}
    logits = numbers([3], "f4", struct.pack("<3f", 0.5, -1, 2))
    route.fulfill(json={**body, **heads(texts), "logits": logits, "likeliest": likeliest})


def numbers(shape, kind, data):
    return {"shape": shape, "type": kind, "data": base64.b64encode(data).decode()}


def heads(texts):
    """Return what the API says of the attention of a single head that looks nowhere."""
    T, S = len(texts), min(len(texts), 32)
    told = {name: numbers([1, 1], "f4", bytes(4)) for name in ("previous", "first", "induction")}
    told["thumbnails"] = numbers([1, 1, S, S], "u1", bytes(S * S))
    told["pattern"] = numbers([T, T], "f4", bytes(4 * T * T))
    return {"tokens": {"ids": list(range(T)), "texts": texts}, **told}


def with_history(route, steps):
    listed = route.fetch().json()
    listed["data"][0]["minigpt2"]["history"] = steps
    route.fulfill(json=listed)


def open_made_up(open_page, address, state, asked=None, steps=(), **options):
    """Open a page whose model was kept at some steps and whose inside is made up."""
    page = open_page(address, state, REFUSED, **options)
    page.route("**/api/inspect", lambda route: told(route, asked=asked))
    page.route("**/v1/models", lambda route: with_history(route, list(steps)))
    page.reload()
    page.wait_for_selector("main")
    return page


def test_a_checkpoint_is_chosen_and_played(sliding, open_page):
    asked = []
    state = address_of(view="next", text=TEXT)
    page = open_made_up(open_page, sliding, state, asked, (0, 100, 2000))
    wait_until(page, lambda: asked)
    name = asked[-1]["model"]
    slider = page.get_by_role("slider", name="Checkpoint")
    assert slider.get_attribute("aria-valuetext") == "as served" and "@" not in name
    slider.press("ArrowLeft")
    wait_until(page, lambda: asked[-1]["model"] == f"{name}@2000" and "step=2000" in page.url)
    slider.fill("0")
    wait_until(page, lambda: asked[-1]["model"] == f"{name}@0")
    asked.clear()
    page.get_by_role("button", name="Play through training").click()
    wait_until(page, lambda: len(asked) == 3)
    assert [body["model"] for body in asked] == [f"{name}@100", f"{name}@2000", name]
    wait_until(page, lambda: "step=" not in page.url)
    wait_until(page, lambda: page.get_by_role("button", name="Pause").count() == 0)


def test_a_checkpoint_writes(sliding, open_page):
    asked = []
    state = address_of(prompt="ROMEO:", step=100, length=5)
    page = open_made_up(open_page, sliding, state, steps=(0, 100))
    page.route("**/tokenize", lambda route: route.fulfill(json={"tokens": [1]}))
    page.route("**/v1/completions", lambda route: refuse(route, 429, "busy"))
    page.on("request", lambda r: r.url.endswith("completions") and asked.append(r.post_data_json))
    press(page, "Write")
    wait_until(page, lambda: asked)
    assert asked[0]["model"].endswith("@100")


def test_tokens_are_walked_by_arrow_keys(sliding, open_page):
    page = open_made_up(open_page, sliding, address_of(view="attention", text="a b\n<b>x"))
    chips = page.get_by_role("listbox", name="Tokens").first.get_by_role("option")
    wait_until(page, lambda: chips.all_inner_texts() == list("a·b⏎<b>x"))
    chips.first.focus()
    page.keyboard.press("ArrowRight")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("1: blank")
    page.keyboard.press("End")
    assert page.evaluate("document.activeElement.ariaLabel").startswith("7: “x”")
    assert page.locator(".tokens [tabindex='0']").count() == 1  # one stop


def test_hostile_tokens_are_only_text(sliding, open_page):
    page = open_made_up(open_page, sliding, address_of(view="attention"))
    page.unroute("**/api/inspect")
    page.route("**/api/inspect", lambda route: route.fulfill(json=heads(PAYLOADS)))
    page.reload()
    page.wait_for_selector(".token")
    assert page.locator(".token").count() == len(PAYLOADS)
    assert page.locator(".frame").locator("script, img, svg, iframe, style, link").count() == 0


def test_a_refusal_is_said_in_words_and_a_loading_model_waited_for(sliding, open_page):
    page = open_made_up(open_page, sliding, address_of(view="attention", text=TEXT))
    page.wait_for_selector(".token")
    page.unroute("**/api/inspect")
    answers = iter([(503, "loading"), (400, "A text of 300 tokens is too long.")])
    page.route("**/api/inspect", lambda route: refuse(route, *next(answers)))
    page.get_by_label("Text to look at").fill("another")
    wait_until(page, lambda: page.get_by_role("alert").count())
    assert page.get_by_role("alert").inner_text() == "A text of 300 tokens is too long."
    assert page.locator(".stale .token").count() == len(TEXT)  # what there was is paler


def refuse(route, status, message):
    route.fulfill(status=status, json={"error": {"message": message}}, headers={"Retry-After": "1"})


def test_a_view_is_taken_away_as_picture_and_numbers(sliding, open_page):
    page = open_made_up(open_page, sliding, address_of(view="next", text=TEXT))
    page.wait_for_selector(".seen > *")
    with page.expect_download() as taken:
        page.get_by_role("button", name="JSON").click()
    numbers = json.loads(taken.value.path().read_text(encoding="utf-8"))
    assert numbers["data"]["logits"] == [0.5, -1, 2] and numbers["request"]["prompt"] == TEXT
    assert taken.value.suggested_filename == "next.json"
    with page.expect_download() as taken:
        page.get_by_role("button", name="PNG").click()
    picture = taken.value.path().read_bytes()
    width, height = struct.unpack(">2I", picture[16:24])
    box = page.locator(".frame").bounding_box()
    assert picture[:4] == b"\x89PNG" and width == 2 * (round(box["width"]) + 2 * 24)
    assert abs(height - 2 * (box["height"] + 2 * 24)) <= 2
    assert len(set(picture)) == 256  # not an empty sheet
    assert page.evaluate("violations") == []
