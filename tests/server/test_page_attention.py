"""The view Attention, in a real browser: its numbers are those of a plain forward of the model."""

import re
import struct
from base64 import b64encode

import pytest
from tests.server.browsing import PAYLOADS, address_of, needs_browser, wait_until

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
    page.wait_for_selector(".seen:not(.stale) .head-shown .token")
    return page


def point(page, within, place, rows, cols, click=False):
    """Point at a cell of a map."""
    box = page.locator(f"{within} .map")
    size = box.bounding_box()
    x, y = (place[1] + 0.5) / cols * size["width"], (place[0] + 0.5) / rows * size["height"]
    (box.click if click else box.hover)(position={"x": x, "y": y})


def tell(page, within, place, rows, cols):
    """Point at a cell of a map, and return what is told of it."""
    point(page, within, place, rows, cols)
    return page.inner_text(f"{within} .heatmap .tell")


def numbers(page, selector):
    page.wait_for_selector(".seen:not(.stale) .head-shown")
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
    told = tell(page, ".head-shown", (9, 8), len(ids), len(ids))
    found = re.fullmatch(r"“ome” at 9 looks at “·R” at 8: ([\d.]+)", told)
    assert found and float(found[1]) == pytest.approx(attention[0, 0, 9, 8].item(), rel=0.006)
    told = tell(page, ".head-shown", (8, 9), len(ids), len(ids))
    assert told.endswith(": never, it is later")


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


HEADS = ".seen > .beside > .labelled"


def test_heads_are_framed_by_their_scores(sliding, open_page, expected):
    page = open_view(open_page, sliding)
    L, H = expected[1].shape[:2]
    for name, values in scores_of(*expected).items():
        page.get_by_label(name, exact=True).check()
        values = [float(value) for value in values]
        for i, value in enumerate(values):
            told = tell(page, HEADS, divmod(i, H), L, H)
            found = re.fullmatch(rf"L{i // H}H{i % H}, {name}: (\S+)", told)
            assert found and float(found[1]) == pytest.approx(value, rel=0.006, abs=1e-6)
        best = max(range(len(values)), key=values.__getitem__)
        point(page, HEADS, divmod(best, H), L, H, click=True)
        wait_until(page, lambda best=best: page.inner_text("h3") == f"L{best // H}H{best % H}")
        found = re.search(name + r" ([\d.]+)", page.inner_text(".scored"))
        assert float(found[1]) == pytest.approx(values[best], rel=0.006)
    wait_until(page, lambda: "score=induction" in page.url and f"head={best % H}" in page.url)


def test_without_a_repetition_there_is_no_induction(sliding, open_page):
    page = open_view(open_page, sliding, text="abcde", score="induction")
    assert page.inner_text(f"{HEADS} .tell") == "L0H0, induction: undefined"
    assert page.inner_text(".scored").endswith("induction undefined")


def test_heads_and_tokens_are_chosen_by_keyboard_alone(sliding, open_page, expected):
    page = open_view(open_page, sliding)
    page.get_by_label("previous token", exact=True).focus()
    page.keyboard.press("ArrowRight")
    assert page.get_by_label("first token", exact=True).is_checked()
    page.keyboard.press("Tab")
    for key in ("ArrowDown", "ArrowRight", "ArrowRight", "ArrowLeft"):
        page.keyboard.press(key)
    wait_until(page, lambda: page.inner_text(f"{HEADS} .tell").startswith("L1H1, first token: "))
    page.keyboard.press("Enter")
    wait_until(page, lambda: page.inner_text("h3") == "L1H1")
    page.wait_for_selector(".seen:not(.stale) .head-shown")
    page.keyboard.press("Tab")
    page.keyboard.press("Home")
    for _ in range(4):
        page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    wait_until(page, lambda: "position=4" in page.url and "head=1" in page.url)
    page.keyboard.press("Tab")
    page.keyboard.press("ArrowDown")
    weight = expected[1][1, 1, 1, 0].item()
    found = re.search(
        r"at 1 looks at .* at 0: ([\d.]+)", page.inner_text(".head-shown .heatmap .tell")
    )
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
    assert (
        page.locator(".token").count() == 36
        and page.locator(".head-shown .names span").count() == 72
    )
    page.locator(".token").last.hover()
    assert page.locator(".sides li").count() == 5
    assert page.locator(".frame").locator("script, img, svg, iframe, style, link").count() == 0
    assert page.evaluate("violations") == []


@pytest.mark.parametrize("width", [360, 1280])
def test_a_thousand_heads_scroll_in_their_own_box(sliding, open_page, width):
    viewport = {"width": width, "height": 740}
    page = open_made_up(open_page, sliding, answer(list("ab" * 100), 25, 48), viewport=viewport)
    assert page.evaluate("document.querySelector('.look').scrollWidth") <= width
    page.locator(f"{HEADS} .map").focus()
    for _ in range(47):
        page.keyboard.press("ArrowRight")
    wait_until(page, lambda: page.inner_text(f"{HEADS} .tell").startswith("L0H47, "))
    parts = [HEADS, f"{HEADS} .at", f"{HEADS} .left span >> nth=0"]
    box, at, name = (page.locator(part).bounding_box() for part in parts)
    assert name["x"] == pytest.approx(box["x"], abs=1)  # the layers stay in sight
    assert name["x"] + name["width"] <= at["x"]
    assert at["x"] + at["width"] <= box["x"] + box["width"] + 1
    cell = page.locator(f"{HEADS} .map").bounding_box()["width"] / 48
    assert cell >= 32  # a pixel for each cell of the small map
