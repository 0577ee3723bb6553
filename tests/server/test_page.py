"""The page in a real browser, before the real server: what a reader does, and what it may not do.

`MINIGPT2_SCREENSHOTS=docs pytest -m slow tests/server/test_page.py -k screenshots` writes the
pictures of the documentation.
"""

import json
import os
import shutil
import time
import urllib.request

import pytest
from tests.server.browsing import (
    PAYLOADS,
    PICTURES,
    REFUSING,
    ROOT,
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

from minigpt2.interop.opening import PRETRAINED

pytestmark = needs_browser


def test_text_streams_in(sliding, open_page):
    page = open_page(sliding, address_of(prompt="ROMEO:", length=600))
    press(page, "Write")
    lengths = set()
    wait_until(page, lambda: lengths.add(len(text_of(page))) or len(lengths) > 4)
    text = idle(page)
    assert text.startswith("ROMEO:")
    assert len(text) > max(lengths) - 1
    assert page.inner_text(".written") == "600"
    model = page.evaluate("[...document.querySelectorAll('.ink .model')].map(e => e.textContent)")
    assert "ROMEO:" + "".join(model) == text  # the two hands are told apart
    assert "length" in page.inner_text(".finish")


@pytest.mark.parametrize("how", ["button", "key"])
def test_stop_stops_the_server_too(sliding, open_page, how):
    page = open_page(sliding, address_of(prompt="ROMEO:", length=2000))
    press(page, "Write")
    written(page, 40)
    assert busy_with(sliding) == 1
    if how == "button":
        press(page, "Stop")
    else:
        page.keyboard.press("Escape")
    begun = time.monotonic()
    while busy_with(sliding):
        assert time.monotonic() - begun < 0.3  # a tenth of a second, and what looking takes
        time.sleep(0.005)
    text = idle(page)
    page.wait_for_timeout(300)
    assert text_of(page) == text  # nothing comes after
    assert page.inner_text(".finish") == "stopped"


def test_continue_extends_and_regenerate_changes(sliding, open_page):
    page = open_page(sliding, address_of(prompt="ROMEO:", length=30))
    press(page, "Write")
    written(page, 6)
    first = idle(page)
    press(page, "Continue")
    written(page, len(first))
    longer = idle(page)
    assert longer.startswith(first)
    press(page, "Regenerate")
    wait_until(page, lambda: not text_of(page).startswith(first[:12]))
    other = idle(page)
    assert other.startswith("ROMEO:") and other != longer
    press(page, "Undo")
    assert wait_until(page, lambda: text_of(page) == longer)


def test_a_locked_seed_writes_the_same_again(sliding, open_page):
    page = open_page(sliding, address_of(prompt="ROMEO:", length=30, seed=5, lock=1))
    press(page, "Write")
    written(page, 6)
    first = idle(page)
    press(page, "Regenerate")
    page.wait_for_timeout(100)
    assert idle(page) == first
    page.get_by_label("Seed", exact=True).fill("6")
    page.keyboard.press("Tab")
    press(page, "Regenerate")
    page.wait_for_timeout(100)
    assert idle(page) != first


def test_temperature_zero_is_the_same_whatever_the_seed(sliding, open_page):
    page = open_page(sliding, address_of(prompt="ROMEO:", length=30, temperature=0))
    press(page, "Write")
    written(page, 6)
    first = idle(page)
    press(page, "Regenerate")
    page.wait_for_timeout(100)
    assert idle(page) == first
    assert page.get_by_label("Seed", exact=True).input_value() == "1338"


def test_a_moved_slider_acts_while_text_streams(sliding, open_page):
    page = open_page(sliding, address_of(prompt="ROMEO:", length=2000))
    asked = []
    page.on("request", lambda r: r.url.endswith("completions") and asked.append(r.post_data_json))
    press(page, "Write")
    before = written(page, 60)
    page.get_by_role("slider", name="Temperature").fill("0")
    wait_until(page, lambda: len(asked) == 2)
    assert asked[1]["temperature"] == 0
    assert asked[1]["prompt"].startswith(before)  # from the text so far
    assert asked[1]["max_tokens"] < 2000
    written(page, len(asked[1]["prompt"]))
    page.get_by_role("slider", name="Length").fill("1")  # less than there is
    assert idle(page).startswith(asked[1]["prompt"])
    assert len(asked) == 2  # a changed length asks for nothing


def test_another_seed_while_text_streams_begins_anew(sliding, open_page):
    page = open_page(sliding, address_of(prompt="ROMEO:", length=2000))
    asked = []
    page.on("request", lambda r: r.url.endswith("completions") and asked.append(r.post_data_json))
    press(page, "Write")
    written(page, 60)
    page.get_by_label("Seed", exact=True).fill("99")
    page.keyboard.press("Tab")
    wait_until(page, lambda: len(asked) == 2)
    assert (asked[1]["prompt"], asked[1]["seed"]) == ("ROMEO:", 99)
    page.keyboard.press("Escape")
    idle(page)


def test_the_address_keeps_the_state(sliding, open_page):
    page = open_page(sliding)
    page.fill("textarea", "To be,\nor “not” & #1")
    page.get_by_role("slider", name="Top-k").fill("40")
    page.get_by_role("slider", name="Length").fill("20")
    wait_until(page, lambda: "top_k=40" in page.url and "prompt=" in page.url)
    address = page.url
    page.reload()
    assert wait_until(page, lambda: text_of(page) == "To be,\nor “not” & #1")
    assert page.get_by_role("slider", name="Top-k").input_value() == "40"
    press(page, "Write")
    written(page, 20)
    text = idle(page)
    page.reload()
    assert wait_until(page, lambda: text_of(page) == text)  # what was written is kept as well
    page.goto("about:blank")
    page.goto(address)
    page.wait_for_selector("textarea")
    assert page.get_by_role("slider", name="Length").input_value() == "20"


def test_a_full_window_is_said_and_gone_on_from(refusing, open_page):
    page = open_page(refusing, address_of(prompt="ROMEO:", length=256))
    press(page, "Write")
    idle(page)
    assert page.get_by_role("alert").count() == 0  # the first one leaves room for its prompt
    assert page.inner_text(".written") == "192"
    press(page, "Continue")
    wait_until(page, lambda: page.get_by_role("alert").count())
    text = idle(page)
    assert "is full" in page.inner_text(".notice")
    press(page, "Go on from its last half")
    longer = written(page, len(text) + 300)  # more than the half that was left
    assert longer.startswith(text)
    assert idle(page).startswith(longer)
    assert page.inner_text(".written") == "192"
    assert page.locator(".ink .unseen").count()  # what the model no longer sees is paler


def test_everything_is_done_by_keyboard(sliding, open_page):
    page = open_page(sliding, address_of(length=2000))
    page.keyboard.type("JULIET:")  # the text has the focus
    page.keyboard.press("Control+Enter")
    text = written(page, 60)
    assert text.startswith("JULIET:")
    page.keyboard.press("Escape")
    idle(page)
    names = []
    for _ in range(20):
        page.keyboard.press("Tab")
        names.append(page.evaluate(
            "document.activeElement.textContent || document.activeElement.ariaLabel ||"
            "document.activeElement.id"
        ))  # fmt: skip
        outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
        assert outline == "solid" or names[-1] in ("", "BODY"), names[-1]
        if names[-1] == "seed":
            break
    assert {"Continue", "Regenerate", "Undo", "Copy", "temperature", "top_k", "seed"} <= set(names)


def test_every_field_has_a_name(sliding, open_page):
    page = open_page(sliding)
    unnamed = page.evaluate(
        "[...document.querySelectorAll('input, textarea, select')].filter("
        "e => !e.labels.length && !e.ariaLabel).length"
    )
    assert unnamed == 0
    assert page.locator("[role=status]").count()


def test_a_narrow_screen_scrolls_in_one_direction(sliding, open_page):
    page = open_page(sliding, address_of(prompt="x" * 500), viewport={"width": 360, "height": 740})
    for _ in range(2):
        wide, body = page.evaluate(
            "[document.documentElement.scrollWidth, document.body.scrollWidth]"
        )
        assert wide <= 360 and body <= 360
        press(page, "Settings")
    assert page.get_by_role("button", name="Write").is_visible()


def test_dark_and_light_differ_and_can_be_read(sliding, open_page):
    grounds = []
    for scheme in ("light", "dark"):
        page = open_page(sliding, color_scheme=scheme)
        grounds.append(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        assert all(ratio >= 4.5 for _, ratio in contrast(page)), dict(contrast(page))
    assert grounds[0] != grounds[1]


def test_letters_lie_over_their_ink(sliding, open_page):
    text = "ab c  \t" * 30 + "\n\n" + "word " * 200 + "😀é漢字" * 30 + "\n\n"
    for width in (360, 761, 1280):
        page = open_page(sliding, viewport={"width": width, "height": 740})
        page.fill("textarea", text)
        wait_until(page, lambda page=page: page.inner_text(".ink").startswith("ab c"))
        tall = page.evaluate(
            "(() => { const t = document.querySelector('textarea'), c = t.cloneNode();"
            "c.value = t.value; t.parentNode.style.display = 'block'; t.parentNode.append(c);"
            "c.style.height = '0'; return [c.scrollHeight, "
            "document.querySelector('.ink').offsetHeight]; })()"
        )
        assert abs(tall[0] - tall[1]) <= 1


def refusal(status, body):
    return lambda route: route.fulfill(status=status, json=body)


def test_payloads_are_text(sliding, open_page):
    assert len(PAYLOADS) == 50
    page = open_page(sliding, expected=["400", "Failed to load resource"])
    told = []

    def answer(route):
        piece = {"choices": [{"index": 0, "text": told[-1], "finish_reason": "stop"}]}
        body = f"data: {json.dumps(piece)}\n\ndata: [DONE]\n\n"
        route.fulfill(status=200, content_type="text/event-stream", body=body)

    page.route("**/v1/completions", answer)
    for payload in PAYLOADS:
        told.append(payload)
        page.fill("textarea", payload)
        page.keyboard.press("Control+Enter")
        shown = payload.replace("\r\n", "\n").replace("\x00", "\ufffd")
        both = written(page, len(payload))
        assert both.replace("\x00", "\ufffd").count(shown) >= 2
        assert page.evaluate("document.querySelector('.ink').innerHTML").count("<script") == 0
    for payload in PAYLOADS[::5]:  # ... in the address, and as a message of the server
        page.goto("about:blank")
        page.goto(f"{sliding}#{address_of(prompt=payload, model=payload, view=payload)}")
        page.wait_for_selector("textarea")
        page.unroute("**/v1/completions")
        error = {"error": {"message": payload}}
        page.route("**/v1/completions", refusal(400, error))
        press(page, "Write")
        assert wait_until(page, lambda: page.locator(".notice").count())


def test_payloads_as_names_of_runs_are_text(tmp_path, open_page):
    names = [p for p in PAYLOADS if not set(p) & set("/\x00\r\n") and len(p.encode()) < 200]
    assert len(names) == 8  # the others cannot name a folder
    for name in names:
        shutil.copytree(PRETRAINED, tmp_path / name)
    paths = [str(tmp_path / name) for name in names]
    with serving([*REFUSING, "--max-concurrency", "1", *paths]) as address:
        page = open_page(address, address_of(prompt="ROMEO:", length=9))
        options = page.locator("header select option")
        wait_until(page, lambda: options.count() == len(names))
        assert options.all_text_contents() == names
        page.select_option("header select", index=len(names) - 1)
        press(page, "Write")
        written(page, len("ROMEO:"))
        idle(page)
        with urllib.request.urlopen(f"{address}v1/models") as answer:
            one = json.load(answer)["data"][0]
        every = [{**one, "id": payload} for payload in PAYLOADS]
        listed = {"object": "list", "data": every}
        page.route("**/v1/models", lambda route: route.fulfill(json=listed))
        page.reload()
        wait_until(page, lambda: options.count() == len(PAYLOADS))
        page.select_option("header select", index=len(PAYLOADS) - 1)
        page.close()


def refuse_once(page, status, **headers):
    """Let the next completion be refused, and the ones after go through."""
    left = [1]

    def answer(route):
        if left and left.pop():
            error = {"error": {"message": "not now", "code": None}}
            route.fulfill(status=status, headers=headers, json=error)
        else:
            route.continue_()

    page.route("**/v1/completions", answer)


def test_a_busy_server_is_asked_again_when_wanted(sliding, open_page):
    page = open_page(sliding, address_of(prompt="ROMEO:", length=20), expected=["429"])
    refuse_once(page, 429, **{"Retry-After": "3"})
    press(page, "Write")
    wait_until(page, lambda: "busy" in (page.locator(".notice").all_inner_texts() or [""])[0])
    assert text_of(page) == "ROMEO:"
    press(page, "Try again")
    assert written(page, 6)


def test_a_model_that_is_loaded_is_waited_for(sliding, open_page):
    page = open_page(sliding, address_of(prompt="ROMEO:", length=20), expected=["503"])
    refuse_once(page, 503)
    press(page, "Write")
    assert written(page, 6)
    assert page.locator(".notice").count() == 0


@pytest.mark.parametrize(
    ("end", "said"),
    [
        ('data: {"error": {"message": "out of memory"}}\n\n', "out of memory"),
        ("", "broke off"),
        ("data: {no json\n\n", "no connection"),
    ],
)
def test_what_came_before_a_fault_stays(sliding, open_page, end, said):
    page = open_page(sliding, address_of(prompt="ROMEO:"))
    pieces = [{"choices": [{"index": 0, "text": t, "finish_reason": None}]} for t in (" a", " b")]
    body = ": still here\n\n" + "".join(f"data: {json.dumps(piece)}\n\n" for piece in pieces) + end
    page.route(
        "**/v1/completions", lambda r: r.fulfill(content_type="text/event-stream", body=body)
    )
    press(page, "Write")
    wait_until(page, lambda: page.locator(".notice").count())
    assert said in page.inner_text(".notice")
    assert text_of(page) == "ROMEO: a b"
    page.unroute("**/v1/completions")
    press(page, "Try again")
    assert written(page, 20).startswith("ROMEO: a b")


def test_copy_copies_the_text(sliding, open_page):
    page = open_page(sliding, address_of(prompt="To be,\nor not"))
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    press(page, "Copy")
    page.get_by_role("button", name="Copied").wait_for()
    assert page.evaluate("navigator.clipboard.readText()") == "To be,\nor not"


def test_a_lost_connection_loses_no_text(sliding, open_page):
    page = open_page(
        sliding, address_of(prompt="ROMEO:", length=2000), expected=["ERR_", "Failed to load"]
    )
    press(page, "Write")
    before = written(page, 40)
    page.context.set_offline(True)
    page.route("**/v1/completions", lambda route: route.abort())
    page.get_by_role("slider", name="Temperature").fill("1")  # a new request, which fails
    wait_until(page, lambda: page.locator(".notice").count())
    assert "no connection" in page.inner_text(".notice")
    assert idle(page).startswith(before)
    page.context.set_offline(False)
    page.unroute("**/v1/completions")
    before = text_of(page)
    press(page, "Try again")
    assert written(page, len(before)).startswith(before)


def test_a_token_is_asked_for_and_kept_in_the_tab(browser, open_page):
    # In the environment, because a command line can be read by all who use the machine.
    secret = "a-secret-of-this-test"
    os.environ["MINIGPT2_TOKEN"] = secret
    try:
        with serving(SLIDING) as address:
            page = open_page(address, expected=["401"])
            page.get_by_role("textbox", name="Token").fill("a wrong one")
            page.keyboard.press("Enter")
            wait_until(page, lambda: "not the right one" in page.inner_text("dialog"))
            page.get_by_role("textbox", name="Token").fill(secret)
            page.keyboard.press("Enter")
            page.wait_for_selector("textarea")
            page.reload()
            page.wait_for_selector("textarea")
            assert secret not in page.url and page.locator("dialog[open]").count() == 0
            page.close()  # before the server: it would ask again
    finally:
        del os.environ["MINIGPT2_TOKEN"]


def test_a_server_without_models_says_so(sliding, open_page):
    page = open_page(sliding)
    page.route("**/v1/models", lambda route: route.fulfill(json={"object": "list", "data": []}))
    page.reload()
    page.wait_for_selector(".message button")
    assert "no model" in page.inner_text(".message")


@pytest.mark.skipif(not PICTURES, reason="MINIGPT2_SCREENSHOTS names no folder")
@pytest.mark.parametrize("name", ["light", "dark", "phone"])
def test_screenshots(refusing, open_page, name):
    size = (360, 740) if name == "phone" else (1280, 800)
    page = open_page(
        refusing,
        address_of(prompt="ROMEO:\nBut soft, what light", length=110, seed=7, temperature=0.7),
        viewport=dict(zip(("width", "height"), size, strict=True)),
        color_scheme="dark" if name == "dark" else "light",
    )
    press(page, "Write")
    written(page, 30)
    idle(page)
    page.wait_for_timeout(600)
    target = ROOT / PICTURES / f"page-{name}.png"
    page.screenshot(path=target)
    assert target.stat().st_size < 150_000
