"""The Walk view in a real browser: every number it shows is the one of a recorded pass."""

import json
import math
import re

import pytest
import torch
from tests.server.browsing import PAYLOADS, address_of, needs_browser, wait_until

from minigpt2 import from_pretrained
from minigpt2.insight import record
from minigpt2.interop.opening import PRETRAINED

pytestmark = needs_browser
TEXT = "ROMEO:\nO Romeo, Romeo! wherefore"
LAYER, HEAD, POSITION = 1, 2, 13
STATE = {"view": "walk", "text": TEXT, "layer": LAYER, "head": HEAD, "position": POSITION}
STREAM = ("resid_pre", "attn_out", "resid_mid", "pre", "post", "mlp_out", "resid_post")


@pytest.fixture(scope="module")
def recorded():
    """Every vector of the walk, from a pass in Python; the texts; the last probabilities."""
    model, tokenizer = from_pretrained(PRETRAINED)
    ids = tokenizer.encode(TEXT)
    seen = record(model, ids)
    own = {name: seen[f"hook_{name}"][0, POSITION] for name in ("embed", "pos_embed")}
    own |= {name: seen[name, LAYER][0, POSITION] for name in STREAM}
    own |= {n: seen[f"blocks.{LAYER}.{n}.hook_normalized"][0, POSITION] for n in ("ln1", "ln2")}
    own |= {n: seen[n, LAYER][0, POSITION, HEAD] for n in ("q", "k", "v", "z", "result")}
    own["scores"] = seen["attn_scores", LAYER][0, HEAD, POSITION, : POSITION + 1]
    own["pattern"] = seen["pattern", LAYER][0, HEAD, POSITION, : POSITION + 1]
    own |= {n + "s": seen[n[0], LAYER][0, : POSITION + 1, HEAD] for n in ("key", "value")}
    texts = [tokenizer.decode([token]) for token in ids]
    return own, texts, (seen.logits[0, POSITION].softmax(-1), tokenizer)


def number(text):
    return float(text.replace("−", "-").replace(",", ""))


def same(shown, value, digits=3):
    """Whether a number with so many significant digits can be that value."""
    return math.isclose(number(shown), value, rel_tol=0.51 * 10 ** (1 - digits), abs_tol=1e-6)


def open_walk(open_page, address, **state):
    page = open_page(address, address_of(**{**STATE, **state}), ("400",))
    page.wait_for_selector(".walk")
    return page


def strips(page):
    """Yield the name of every strip, and its element."""
    for strip in page.locator(".strip").all():
        yield strip.locator("code").inner_text(), strip


def test_the_vectors_are_those_of_a_recorded_pass(sliding, open_page, recorded):
    page = open_walk(open_page, sliding)
    with page.expect_download() as taken:
        page.get_by_role("button", name="JSON").click()
    vectors = json.loads(taken.value.path().read_text(encoding="utf-8"))["data"]["vectors"]
    vectors = {name: torch.tensor(values) for name, values in vectors.items()}
    assert vectors.keys() == recorded[0].keys()
    for name, values in recorded[0].items():
        torch.testing.assert_close(vectors[name], values, atol=1e-4, rtol=1e-4, msg=name)
    v = vectors
    torch.testing.assert_close(v["resid_mid"], v["resid_pre"] + v["attn_out"], atol=1e-4, rtol=0)
    torch.testing.assert_close(v["resid_post"], v["resid_mid"] + v["mlp_out"], atol=1e-4, rtol=0)
    assert {name for name, _ in strips(page)} == recorded[0].keys()  # none is only exported


def test_norms_means_and_counts_are_true(sliding, open_page, recorded):
    page = open_walk(open_page, sliding)
    for name, strip in strips(page):
        values = recorded[0][name]
        if values.ndim == 2:
            assert strip.locator(".stats").inner_text() == " × ".join(map(str, values.shape))
            continue
        norm, mean = re.fullmatch(r"norm (.*), mean (.*)", strip.locator(".stats").inner_text())\
            .groups()  # fmt: skip
        assert same(norm, values.norm().item()), name
        assert abs(number(mean) - values.mean().item()) < 2e-3 * values.abs().mean(), name
    active = int((recorded[0]["post"] > 0).sum())
    assert f"{active} of {len(recorded[0]['post'])} neurons are active" in page.inner_text(".walk")


def test_one_component_is_read_in_all_strips_and_adds_up(sliding, open_page, recorded):
    page = open_walk(open_page, sliding)
    page.locator(".strip .map").first.focus()
    for _ in range(5):
        page.keyboard.press("ArrowRight")
    page.get_by_label("Layer").focus()  # it stays marked
    told = {}
    for name, strip in strips(page):
        said = strip.locator(".tell").inner_text().strip()
        assert bool(said) == (len(recorded[0][name]) == len(recorded[0]["embed"])), name
        if said:
            where, told[name] = said.rsplit(": ", 1)
            assert where == f"{name}, component 5"
            assert same(told[name], recorded[0][name][5].item()), name
    shown = {name: number(value) for name, value in told.items()}
    parts = shown["resid_pre"] + shown["attn_out"] + shown["mlp_out"]
    assert abs(parts - shown["resid_post"]) < 0.02 * max(map(abs, shown.values()))


def test_a_folded_strip_tells_its_own_cells(sliding, open_page, recorded):
    page = open_walk(open_page, sliding)
    post = dict(strips(page))["post"]
    post.scroll_into_view_if_needed()
    box = post.locator(".map").bounding_box()
    page.mouse.move(box["x"] + 1, box["y"] + box["height"] - 2)  # the first of the last row
    where, value = post.locator(".tell").inner_text().rsplit(": ", 1)
    index = int(where.removeprefix("post, neuron "))
    assert index == 256 and same(value, recorded[0]["post"][256].item())
    keys = dict(strips(page))["keys"]
    keys.locator(".map").focus()
    page.keyboard.press("ArrowDown")
    where, value = keys.locator(".tell").inner_text().rsplit(": ", 1)
    assert where == "1 “O”, head component 0" and same(value, recorded[0]["keys"][1, 0].item())


def told(row):
    """Return the name and the number of a row of shares."""
    return row.locator("span").inner_text(), row.locator("b").inner_text()


def named(token):
    return {" ": "blank", "\n": "newline"}.get(token, f"“{token.replace(' ', '·')}”")


def test_shares_have_their_tokens(sliding, open_page, recorded):
    page = open_walk(open_page, sliding)
    own, texts, (answer, tokenizer) = recorded
    looked, after = page.locator(".walk .shares").all()
    top = own["pattern"].topk(8)
    rows = looked.locator("li").all()
    assert len(rows) == 9
    for row, share, j in zip(rows, top.values.tolist(), top.indices.tolist(), strict=False):
        name, shown = told(row)
        token, where, score = re.fullmatch(r"(.*) at (\d+), score (.*)", name).groups()
        assert token == named(texts[j]) and int(where) == j
        assert same(shown, share) and same(score, own["scores"][j].item())
    name, rest = told(rows[8])
    assert name == f"the other {len(own['pattern']) - 8}"
    assert abs(float(rest) - (1 - top.values.sum().item())) < 0.001
    top = answer.topk(5)
    for row, share, token in zip(
        after.locator("li").all(), top.values.tolist(), top.indices.tolist(), strict=True
    ):
        name, shown = told(row)
        assert name == named(tokenizer.decode([token])) and same(shown, share)


def test_every_stage_has_a_formula_and_a_sentence(sliding, open_page):
    page = open_walk(open_page, sliding)
    for stage in page.locator(".stage").all():
        assert stage.locator("h3").inner_text() and stage.locator(".formula").inner_text()
        assert stage.locator(".formula + p").inner_text().endswith(".")
    assert page.locator(".stage").count() == 15
    page.get_by_label("Layer").select_option("0")
    wait_until(page, lambda: "before block 0" in page.inner_text(".walk"))
    assert "added so far" not in page.inner_text(".walk")


def test_token_layer_and_head_are_chosen_and_kept(sliding, open_page):
    page = open_walk(open_page, sliding)
    page.get_by_label("Head").select_option("3")
    page.locator(".token[aria-selected=true]").focus()
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Enter")
    wait_until(page, lambda: f"position={POSITION - 1}" in page.url and "head=3" in page.url)
    page.get_by_label("Layer").select_option("2")
    wait_until(page, lambda: "layer=2" in page.url and "head L2H3" in page.inner_text(".walk"))
    page.reload()
    page.wait_for_selector(".walk")
    assert "head L2H3" in page.inner_text(".walk")
    assert f"wpe[{POSITION - 1}]" in page.inner_text(".formula >> nth=0")
    assert "what block 3 reads" in page.inner_text(".walk")
    page.get_by_label("Layer").select_option("3")
    wait_until(page, lambda: "head L3H3" in page.inner_text(".walk"))
    assert "what block" not in page.inner_text(".walk")  # it is the last


def test_what_is_beyond_the_model_or_the_text_is_not_asked_for(sliding, open_page):
    page = open_walk(open_page, sliding, layer=99, head="x", position=14)
    assert "head L0H0" in page.inner_text(".walk")
    page.get_by_label("Text to look at").fill("ab")
    wait_until(page, lambda: page.locator(".tokens .token").count() <= 2)
    wait_until(page, lambda: "position" not in page.url)
    assert page.get_by_role("alert").count() == 0


def test_strips_fit_a_narrow_screen(sliding, open_page):
    state = address_of(**STATE)
    page = open_page(sliding, state, viewport={"width": 360, "height": 740}, color_scheme="dark")
    page.wait_for_selector(".walk")
    assert page.evaluate("document.querySelector('.look').scrollWidth") <= 360
    for name, strip in strips(page):
        box = strip.bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360, name
        pixels = strip.locator("canvas").evaluate("e => e.width")
        assert pixels <= box["width"], name  # no number is passed over


def test_payloads_as_tokens_are_text(sliding, open_page):
    page = open_walk(open_page, sliding)

    def answer(route):
        told = route.fetch().json()
        told["tokens"]["texts"] = PAYLOADS[: len(told["tokens"]["ids"])]
        told["next"]["texts"] = PAYLOADS[-5:]
        route.fulfill(json=told)

    page.route("**/api/inspect", answer)
    page.reload()
    page.wait_for_selector(".walk")
    shown = page.locator(".walk .shares span").all_text_contents()
    assert len(shown) == 9 + 5 and any("<" in text for text in shown)
    page.locator(".strip .map").nth(6).hover()
    assert page.locator(".frame").locator("script, img, svg, iframe, style, link").count() == 0
