"""The guided tour in a real browser: by keyboard alone, through every view, and back."""

import re

import pytest
from tests.server.browsing import PAYLOADS, address_of, needs_browser, wait_until, written

from minigpt2 import from_pretrained
from minigpt2.interop.opening import PRETRAINED

pytestmark = needs_browser
MAY_FAIL = ("404", "400", "Failed to load")  # what a view may be refused that has no answer here
VIEWS = {"write", "next", "attention", "lens", "runs", "ablate", "walk"}
TEXT = "ROMEO:\nO Romeo, Romeo!"


def view_of(page):
    return page.locator("[aria-current=page]").get_attribute("href").split("view=")[1].split("&")[0]


def step_of(page):
    """Return the number of the step and of all steps."""
    step, count = re.match(r"Step (\d+) of (\d+)", page.inner_text(".tour")).groups()
    return int(step), int(count)


def in_card(page):
    return page.evaluate("document.activeElement.closest('.tour') !== null")


def at_step(page, n):
    wait_until(page, lambda: page.locator(".tour").count() and step_of(page)[0] == n)
    wait_until(page, lambda: page.locator("[data-toured]").count() == 1)
    wait_until(page, lambda: in_card(page))


def open_tour(open_page, address, n, **options):
    page = open_page(address, address_of(tour=n, text=TEXT), MAY_FAIL, **options)
    at_step(page, n)
    return page


def with_model(page, **facts):
    """Let the page believe other facts of its model."""

    def answer(route):
        listed = route.fetch().json()
        listed["data"][0]["minigpt2"].update(facts)
        route.fulfill(json=listed)

    page.route("**/v1/models", answer)
    page.reload()
    page.wait_for_selector("main")


def sentences(page):
    return page.inner_text("#tour-text").replace("?", ".").replace(": ", ". ").count(".")


def test_the_tour_is_taken_by_keyboard_through_every_view(sliding, open_page):
    page = open_page(sliding, address_of(text=TEXT), MAY_FAIL)
    page.get_by_role("button", name="Tour").focus()
    page.keyboard.press("Enter")
    at_step(page, 1)
    seen, titles, count = {view_of(page)}, set(), step_of(page)[1]
    for n in range(1, count + 1):
        at_step(page, n)
        seen.add(view_of(page))
        titles.add(page.inner_text("#tour-title"))
        assert 2 <= sentences(page) <= 6 and len(page.inner_text("#tour-text")) < 420
        if page.locator(".looked").count():  # what is said of the text is said of one in sight
            text, main = (page.locator(e).bounding_box() for e in (".looked", "main"))
            assert text["y"] >= main["y"]
        box = page.locator("[data-toured]").bounding_box()
        assert box["y"] < 800 and box["y"] + box["height"] > 0
        wait_until(page, lambda n=n: f"tour={n}" in page.url)
        if n < count:
            page.keyboard.press("ArrowRight" if n % 2 else "Enter")
    assert seen == VIEWS and len(titles) == count
    page.keyboard.press("ArrowRight")  # there is nothing after the last
    page.keyboard.press("ArrowLeft")
    at_step(page, count - 1)
    page.keyboard.press("ArrowRight")
    at_step(page, count)
    page.keyboard.press("Enter")  # the end
    wait_until(page, lambda: "tour=" not in page.url)
    assert page.locator(".tour, [data-toured]").count() == 0
    assert page.evaluate("document.activeElement.textContent") == "Tour"


def test_buttons_and_escape_do_the_same(sliding, open_page):
    page = open_tour(open_page, sliding, 2)
    page.get_by_role("button", name="Back").click()
    at_step(page, 1)
    assert page.get_by_role("button", name="Back").is_disabled()
    page.get_by_role("button", name="Next", exact=True).click()
    at_step(page, 2)
    page.keyboard.press("Escape")
    wait_until(page, lambda: page.locator(".tour").count() == 0)
    assert page.evaluate("document.activeElement.textContent") == "Tour"


def test_escape_is_of_what_has_the_focus(sliding, open_page):
    page = open_tour(open_page, sliding, 1)
    page.get_by_role("slider", name="Length").fill("2000")
    page.get_by_role("button", name="Write").click()
    written(page, 20)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Continue").wait_for()
    assert page.locator(".tour").count() == 1
    page.get_by_role("button", name="Continue").click()
    page.get_by_role("button", name="Stop").wait_for()
    page.locator(".tour").get_by_role("button", name="Next").focus()
    page.keyboard.press("Escape")  # of the card now
    wait_until(page, lambda: page.locator(".tour").count() == 0)
    assert page.get_by_role("button", name="Stop").count() == 1


def test_a_step_is_linked_and_survives_a_reload(sliding, open_page):
    page = open_tour(open_page, sliding, 8)
    assert view_of(page) == "lens"
    wait_until(page, lambda: "view=lens" in page.url)
    page.reload()
    at_step(page, 8)
    page.get_by_role("link", name="Runs").click()  # another view may be looked at meanwhile
    wait_until(page, lambda: view_of(page) == "runs")
    assert step_of(page)[0] == 8 and not in_card(page)
    page.locator(".tour").get_by_role("button", name="Next").click()
    at_step(page, 9)
    for wrong, n in (("99", 12), ("x", 1), ("-3", 1)):
        page.evaluate(f"location.hash = 'tour={wrong}'")
        at_step(page, n)


def test_arrow_keys_elsewhere_are_not_the_tour_s(sliding, open_page):
    page = open_tour(open_page, sliding, 5)
    page.wait_for_selector(".tokens")
    page.locator(".token").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    wait_until(page, lambda: "position=1" in page.url)
    assert step_of(page)[0] == 5


def test_facts_are_the_model_s(sliding, open_page):
    config = from_pretrained(PRETRAINED)[0].config
    page = open_tour(open_page, sliding, 2)
    assert f"model’s has {config.vocab_size:,}." in page.inner_text("#tour-text")
    page.evaluate("location.hash = 'tour=7'")
    at_step(page, 7)
    assert f"{config.n_layer * config.n_head} heads" in page.inner_text("#tour-text")
    page.keyboard.press("ArrowRight")
    at_step(page, 8)
    assert f"layers, {config.n_layer} in number" in page.inner_text("#tour-text")


def test_what_is_not_there_is_said(sliding, open_page):
    page = open_tour(open_page, sliding, 9)
    assert "--logging.keep-history" in page.inner_text("#tour-text")
    with_model(page, history=[0, 100])
    at_step(page, 9)
    assert "slider Checkpoint" in page.inner_text("#tour-text")
    assert page.locator(".checkpoint[data-toured]").count() == 1
    with_model(page, n_layer=0, n_head=0, history=[])
    at_step(page, 7)  # a bigram's last
    titles = []
    for n in range(7, 0, -1):
        at_step(page, n)
        titles.append(page.inner_text("#tour-title"))
        assert view_of(page) in ("write", "next", "runs")
        page.keyboard.press("ArrowLeft")
    assert "A model without layers" in titles and "Attention" not in titles


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_card_has_its_place_on_a_narrow_screen(sliding, open_page, scheme):
    size = {"width": 360, "height": 740}
    page = open_tour(open_page, sliding, 1, viewport=size, color_scheme=scheme)
    for n in range(1, step_of(page)[1] + 1):
        at_step(page, n)
        card, header = (page.locator(e).bounding_box() for e in (".tour", ".head"))
        main = wait_until(page, page.locator("main").bounding_box)  # it may be drawn anew
        assert card["x"] == 0 and card["width"] == 360 and card["y"] + card["height"] <= 740
        assert main["y"] + main["height"] <= card["y"] + 1 and main["y"] >= header["height"] - 1
        assert main["height"] > 180 and card["height"] < 320  # something is still seen
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
        page.keyboard.press("ArrowRight")


def test_payloads_are_text_around_the_tour(sliding, open_page):
    page = open_tour(open_page, sliding, 2)

    def answer(route):
        told = route.fetch().json()
        told["tokens"]["texts"] = PAYLOADS[: len(told["tokens"]["ids"])]
        route.fulfill(json=told)

    page.route("**/api/inspect", answer)
    page.evaluate("location.hash = 'tour=' + encodeURIComponent('<img src=x onerror=alert(1)>')")
    for n in range(1, 9):
        at_step(page, n)
        assert page.locator("main, .tour").locator("script, img, svg, iframe, link").count() == 0
        page.keyboard.press("Enter")
