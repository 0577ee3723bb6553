"""The view Attention, in a real browser: its numbers are those of a plain forward of the model."""

import re
import struct
from base64 import b64encode

import pytest
from tests.server.browsing import PAYLOADS, address_of, needs_browser, press, wait_until

pytestmark = needs_browser
TEXT = "ROMEO:\nO Romeo, Romeo! wherefore art thou Romeo?"


def attention_of(model, ids):
    """Return the attention of all heads, (L, H, T, T), computed from the weights alone."""
    import torch

    x = model.wte.weight[ids] + model.wpe.weight[: len(ids)]
    H, layers = model.config.n_head, []
    with torch.no_grad():
        for block in model.h:
            q, k, _ = block.attn.c_attn(block.ln_1(x)).view(len(ids), 3, H, -1).unbind(1)
            scores = torch.einsum("thd,shd->hts", q, k) / q.shape[-1] ** 0.5
            future = torch.ones(len(ids), len(ids), dtype=torch.bool).triu(1)
            layers.append(scores.masked_fill(future, float("-inf")).softmax(-1))
            x = block(x[None])[0]
    return torch.stack(layers)


@pytest.fixture(scope="module")
def expected(packaged):
    model, tokenizer = packaged
    ids = tokenizer.encode(TEXT)
    return ids, attention_of(model, ids)


def open_view(open_page, address, text=TEXT, **state):
    options = state.pop("options", {})
    page = open_page(address, address_of(view="attention", text=text, **state), **options)
    page.wait_for_selector(".head-shown:not(.stale) .token")
    return page


def numbers(page, selector):
    page.wait_for_selector(".head-shown:not(.stale)")
    return [float(text) for text in page.locator(selector).all_inner_texts()]


def test_what_a_token_looks_at_equals_a_plain_forward(sliding, open_page, expected):
    ids, attention = expected
    page = open_view(open_page, sliding, layer=1, head=2, position=15)
    looks, seen = page.locator(".sides ol").all()
    for shown, weights in ((looks, attention[1, 2, 15, :16]), (seen, attention[1, 2, 16:, 15])):
        best = weights.topk(5).values.tolist()
        told = [float(text) for text in shown.locator("b").all_inner_texts()]
        assert told == pytest.approx(best, rel=0.006)  # three digits are shown
    places = [int(re.search(r"at (\d+)", x)[1]) for x in looks.locator("span").all_inner_texts()]
    assert places == attention[1, 2, 15, :16].topk(5).indices.tolist()
    assert page.locator(".tokens .token").count() == len(ids)
    page.locator(".token").nth(20).hover()
    assert page.locator("h4").first.inner_text().endswith("at 20 looks at")
    best = attention[1, 2, 20, :21].topk(5).values.tolist()
    assert numbers(page, ".sides ol:first-of-type b") == pytest.approx(best, rel=0.006)


def test_a_cell_of_the_map_tells_its_weight(sliding, open_page, expected):
    ids, attention = expected
    page = open_view(open_page, sliding, layer=0, head=0)
    box = page.locator(".map").bounding_box()
    row, col = 9, 8
    share = [(place + 0.5) / len(ids) for place in (col, row)]
    page.mouse.move(box["x"] + share[0] * box["width"], box["y"] + share[1] * box["height"])
    told = page.locator(".heatmap .tell").inner_text()
    found = re.fullmatch(r"“ome” at 9 looks at “·R” at 8: ([\d.]+)", told)
    assert found and float(found[1]) == pytest.approx(attention[0, 0, 9, 8].item(), rel=0.006)
    page.mouse.move(box["x"] + share[1] * box["width"], box["y"] + share[0] * box["height"])
    assert page.locator(".heatmap .tell").inner_text().endswith(": never, it is later")


def scores_of(ids, attention):
    T = len(ids)
    heads = attention.flatten(0, 1)
    copies = [[s for s in range(1, t) if ids[s - 1] == ids[t]] for t in range(T)]
    cases = [t for t in range(T) if copies[t]]
    return {
        "previous token": [sum(p[t, t - 1] for t in range(1, T)) / (T - 1) for p in heads],
        "first token": [sum(p[t, 0] for t in range(1, T)) / (T - 1) for p in heads],
        "induction": [sum(p[t, copies[t]].sum() for t in cases) / len(cases) for p in heads],
    }


def test_heads_are_marked_by_their_scores(sliding, open_page, expected):
    page = open_view(open_page, sliding)
    H = expected[1].shape[1]
    for name, values in scores_of(*expected).items():
        page.get_by_label(name, exact=True).check()
        values = [float(value) for value in values]
        told = [float(text) for text in page.locator(".heads .share").all_inner_texts()]
        assert told == pytest.approx(values, abs=0.0051)
        best = max(range(len(values)), key=values.__getitem__)
        strongest = f"L{best // H}H{best % H}"
        press(page, f"strongest: {strongest}, {values[best]:.2f}")
        wait_until(page, lambda strongest=strongest: page.inner_text("h3") == strongest)
        found = re.search(name + r" ([\d.]+)", page.inner_text(".scored"))
        assert float(found[1]) == pytest.approx(values[best], rel=0.006)
    wait_until(page, lambda: "score=induction" in page.url and f"head={best % H}" in page.url)


def test_without_a_repetition_there_is_no_induction(sliding, open_page):
    page = open_view(open_page, sliding, text="abcde", score="induction")
    assert page.inner_text(".none") == "no token repeats in this text"
    assert set(page.locator(".heads .share").all_inner_texts()) == {"–"}
    page = open_view(open_page, sliding, text="a")
    assert page.inner_text(".none") == "one token has none before it"


def test_heads_and_tokens_are_chosen_by_keyboard_alone(sliding, open_page, expected):
    page = open_view(open_page, sliding)
    page.get_by_label("previous token", exact=True).focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("first token", exact=True).is_checked()
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.ariaLabel").startswith("L1H1, first token")
    wait_until(page, lambda: page.inner_text("h3") == "L1H1")
    page.wait_for_selector(".head-shown:not(.stale)")
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    wait_until(page, lambda: "position=4" in page.url and "head=1" in page.url)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    weight = expected[1][1, 1, 1, 0].item()
    found = re.search(r"at 1 looks at .* at 0: ([\d.]+)", page.inner_text(".heatmap .tell"))
    assert float(found[1]) == pytest.approx(weight, rel=0.006)


def floats(*shape, values=None):
    count = 1
    for size in shape:
        count *= size
    data = struct.pack(f"<{count}f", *(values or [0.25] * count))
    return {"shape": list(shape), "type": "f4", "data": b64encode(data).decode()}


def answer(texts, layers=1, heads=1):
    """Return an answer of the API with made-up numbers, of all heads and of one."""
    T = len(texts)
    S = min(T, 32)
    pixels = {"shape": [layers, heads, S, S], "type": "u1"}
    pixels["data"] = b64encode(bytes(range(256)) * (layers * heads * S * S // 256 + 1)).decode()
    scores = {name: floats(layers, heads) for name in ("previous", "first", "induction")}
    tokens = {"ids": list(range(T)), "texts": texts}
    return {"tokens": tokens, "thumbnails": pixels, "pattern": floats(T, T), **scores}


def open_made_up(open_page, address, told, **options):
    page = open_page(address, address_of(view="attention", text="a"), **options)
    page.route("**/api/inspect", lambda route: route.fulfill(json=told))
    page.reload()
    page.wait_for_selector(".head-shown .token")
    return page


def test_hostile_tokens_are_only_text_in_maps_and_lists(sliding, open_page):
    page = open_made_up(open_page, sliding, answer(PAYLOADS[:36]))
    assert page.locator(".token").count() == 36 and page.locator(".axis span").count() == 72
    page.locator(".token").last.hover()
    assert page.locator(".sides li").count() == 5
    assert page.locator(".frame").locator("script, img, svg, iframe, style, link").count() == 0
    assert page.evaluate("violations") == []


@pytest.mark.parametrize("width", [360, 1280])
def test_a_thousand_heads_scroll_in_their_own_box(sliding, open_page, width):
    viewport = {"width": width, "height": 740}
    page = open_made_up(open_page, sliding, answer(list("ab" * 100), 25, 48), viewport=viewport)
    assert page.locator(".heads [role=gridcell]").count() == 1200
    assert page.evaluate("document.querySelector('.look').scrollWidth") <= width
    page.locator(".heads [aria-selected=true]").focus()
    for _ in range(47):
        page.keyboard.press("ArrowRight")
    wait_until(page, lambda: "head=47" in page.url)
    focused, box = (page.locator(s).bounding_box() for s in (":focus", ".heads"))
    assert box["x"] <= focused["x"] and focused["x"] < box["x"] + box["width"]
