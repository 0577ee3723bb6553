"""The view Ablate, in a real browser: what it shows equals plain forwards without those parts."""

import copy
import json
import re

import pytest
import torch
from tests.server.browsing import PAYLOADS, address_of, needs_browser, wait_until
from tests.server.conftest import char_model, random_model

from minigpt2.insight import contributions, record
from minigpt2.insight.readings import CONTRIBUTIONS_NAMES
from minigpt2.model import Bigram, BigramConfig
from minigpt2.tokenizers import ByteTokenizer, CharTokenizer

pytestmark = needs_browser
REFUSED = ("400",)  # in the words of the browser, where a test provokes one
TEXT = "the fox. the fox jumps"


@pytest.fixture(scope="module")
def models():
    table = Bigram(BigramConfig(29)), CharTokenizer(sorted("abcdefghijklmnopqrstuvwxyz \n."))
    return {"fox": char_model(), "bytes": (random_model(256), ByteTokenizer()), "table": table}


@pytest.fixture
def open_view(served, open_page):
    def open_(text=TEXT, expected=(), model="fox", script="", width=1280, **state):
        state = address_of(view="ablate", model=model, text=text, **state)
        size = {"width": width, "height": 800}
        page = open_page(f"{served.url}/", state, expected, script, viewport=size)
        page.wait_for_selector(".sum, [role=alert]")
        return page

    return open_


def number(text):
    return float(text.replace("−", "-"))


def shown(page, what):
    return number(page.inner_text(what))


def part(page, name):
    """Return the button of a part, which is told with its contribution, or that of a layer."""
    named = re.compile(rf"^{name}( [+−]?[\d.]+)?$")
    return page.get_by_role("grid", name="Parts").get_by_role("button", name=named)


def listed(page, what):
    """Return [name, told] of the largest contributions, or of the tokens that could be next."""
    place = {"contributions": 0, "next": 1}[what]
    lines = page.locator(f".shares >> nth={place} >> li").all_inner_texts()
    return [line.split("\n") for line in lines]


def answered(page):
    """Wait until the page shows what it asked for last."""
    page.wait_for_timeout(150)  # what is asked for waits a little itself
    wait_until(page, lambda: page.locator("[aria-busy=true]").count() == 0)


def numbers_of(page):
    """Return what the view gives away as JSON."""
    with page.expect_download() as taken:
        page.get_by_role("button", name="JSON").click()
    assert taken.value.suggested_filename == "ablate.json"
    return json.loads(taken.value.path().read_text(encoding="utf-8"))


def logprobs(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids]))[0].log_softmax(-1)


def without_head(model, layer, head, replace):
    """Return the model with a head's part of the projection zeroed, or fed the head's mean."""
    model = copy.deepcopy(model)
    projection, width = model.h[layer].attn.c_proj, 7
    own = slice(head * width, (head + 1) * width)
    if replace == "zero":
        projection.weight.data[:, own] = 0
        return model

    def mean(_, inputs):
        z_BTC = inputs[0].clone()
        z_BTC[..., own] = z_BTC[..., own].mean(1, keepdim=True)
        return (z_BTC,)

    projection.register_forward_pre_hook(mean)
    return model


@pytest.mark.parametrize("replace", ["zero", "mean"])
def test_what_is_shown_equals_a_plain_forward_without_the_head(open_view, models, replace):
    model, tokenizer = models["fox"]
    ids = tokenizer.encode(TEXT)
    page = open_view(parts="L1H0", replace=replace)
    before, after = logprobs(model, ids), logprobs(without_head(model, 1, 0, replace), ids)
    own = torch.tensor(ids[1:])[:, None]
    was, now = (each[:-1].gather(1, own)[:, 0] for each in (before, after))
    assert abs(was - now).max() > 0.01  # else nothing is tested
    assert shown(page, ".loss .before") == pytest.approx(-was.mean().item(), abs=6e-4)
    assert shown(page, ".loss .after") == pytest.approx(-now.mean().item(), abs=6e-4)
    assert shown(page, ".change") == pytest.approx((was - now).mean().item(), abs=6e-4)
    labels = page.get_by_role("listbox", name="Tokens").get_by_role("option")
    told = [label.get_attribute("aria-label") for label in labels.all()]
    assert "nothing predicts it" in told[0] and len(told) == len(ids)
    changes = [number(re.search(r"([+−]?[\d.]+) nats;", label)[1]) for label in told[1:]]
    assert changes == pytest.approx((now - was).tolist(), abs=6e-4)
    kl = (before.exp() * (before - after)).sum(-1)
    kls = [number(re.search(r"after it KL (.*) nats", label)[1]) for label in told]
    assert kls == pytest.approx(kl.tolist(), rel=6e-3, abs=1e-6)
    could_be_next = listed(page, "next")
    for name, chances in could_be_next:
        token = tokenizer.encode({"blank": " ", "newline": "\n"}.get(name, name[1:-1]))[0]
        pair = [float(each.rstrip("%")) / 100 for each in chances.split(" → ")]
        ends = [before[-1, token].exp().item(), after[-1, token].exp().item()]
        assert pair == pytest.approx(ends, rel=6e-3)
    tops = [set(each[-1].topk(10).indices.tolist()) for each in (before, after)]
    assert len(could_be_next) == len(tops[0] | tops[1])
    data = numbers_of(page)["data"]
    assert data["logprobs"][1] == pytest.approx(now.tolist(), abs=1e-5)


def test_tokens_take_the_colour_of_their_change(open_view):
    page = open_view(parts="L0 MLP")
    data = numbers_of(page)["data"]
    changes = [after - before for before, after in zip(*data["logprobs"], strict=True)]
    colours = page.eval_on_selector_all(
        ".tokens .token", "all => all.map(e => e.style.backgroundColor)"
    )[: len(changes) + 1]
    reds = [int(re.search(r"\d+", colour)[0]) for colour in colours[1:]]
    blues = [int(re.findall(r"\d+", colour)[2]) for colour in colours[1:]]
    assert not colours[0]
    least, most = changes.index(min(changes)), changes.index(max(changes))
    assert changes[least] < 0 < changes[most]
    assert reds[least] > blues[least] and blues[most] > reds[most]  # less likely: warm


def pressed(page):
    found = page.locator(".parts [aria-pressed=true]").all()
    return [each.get_attribute("value") for each in found]


def test_parts_are_switched_by_keyboard_and_stay_so(open_view):
    page = open_view()
    assert page.locator(".change").count() == 0  # nothing is off
    loss = page.inner_text(".loss .before")
    part(page, "embed").focus()
    for key in ("ArrowRight", *["ArrowDown"] * 3, "ArrowRight", "ArrowRight", "Space"):
        page.keyboard.press(key)
    assert page.evaluate("document.activeElement.value") == "L1H2" == pressed(page)[0]
    for key in ("ArrowUp", "ArrowLeft", "ArrowLeft", "Enter"):
        page.keyboard.press(key)
    wait_until(page, lambda: "parts=L0H0%2CL1H2" in page.url)
    answered(page)
    after = page.inner_text(".loss .after")
    assert page.inner_text(".loss .before") == loss != after
    assert page.locator(".parts [tabindex='0']").count() == 1  # one stop
    page.get_by_label("its mean over the text").check()
    wait_until(page, lambda: "replace=mean" in page.url)
    page.reload()
    page.wait_for_selector(".sum")
    assert page.get_by_label("its mean over the text").is_checked()
    assert pressed(page) == ["L0H0", "L1H2"]
    page.get_by_label("zero", exact=True).check()
    answered(page)
    assert page.inner_text(".loss .after") == after
    page.get_by_role("button", name="All on").click()
    wait_until(page, lambda: not page.locator(".change").count() and "parts" not in page.url)


def test_a_layer_is_switched_as_a_whole(open_view):
    page = open_view(parts="L1H1,L9H9,<b>")  # what this model has not is passed over
    part(page, "L1").click()
    own = [name for name in told_parts(page) if re.match("L1H|L1 MLP", name)]
    assert len(own) > 2 and pressed(page) == ["L1", *own]
    part(page, "L1H0").click()
    assert pressed(page) == [name for name in own if name != "L1H0"]
    part(page, "L1").click()
    part(page, "L1").click()
    wait_until(page, lambda: "parts" not in page.url)
    assert pressed(page) == []


def told_parts(page):
    return [each.get_attribute("value") for each in page.locator(".parts td button").all()]


def test_contributions_are_the_model_s_and_sum_to_the_difference(open_view, models):
    model, tokenizer = models["fox"]
    page = open_view(position=9, a="e", b="z")
    told = numbers_of(page)["data"]["contributions"]
    ids = tokenizer.encode(TEXT)
    a, b = (tokenizer.encode(each)[0] for each in "ez")
    recording = record(model, ids, CONTRIBUTIONS_NAMES)
    expected = {c.name: c.value for c in contributions(model, recording, 9, a, b)}
    assert {p["name"]: p["value"] for p in told["parts"]} == pytest.approx(expected, abs=1e-5)
    ends = logprobs(model, ids)[9]
    difference = float(ends[a] - ends[b])
    assert sum(p["value"] for p in told["parts"]) == pytest.approx(difference, abs=1e-4)
    for what in (".total", ".difference"):
        assert shown(page, what) == pytest.approx(difference, abs=6e-4)
    for name, value in expected.items():
        cell = part(page, name)
        assert number(cell.inner_text()) == pytest.approx(value, abs=6e-3)
        assert f"{abs(value):.3f}" in cell.get_attribute("aria-label")
    largest = sorted(expected, key=lambda name: -abs(expected[name]))[:10]
    lines = listed(page, "contributions")
    assert [name for name, _ in lines] == largest
    assert [number(value) for _, value in lines] == pytest.approx(
        [expected[name] for name in largest], abs=6e-4
    )
    bars = page.locator(".shares >> nth=0 >> li")
    shares = bars.evaluate_all("all => all.map(e => Number(e.style.getPropertyValue('--share')))")
    assert shares == pytest.approx(
        [abs(expected[name] / expected[largest[0]]) for name in largest], abs=1e-4
    )


def test_a_decision_is_chosen_and_a_head_of_it_ablated(open_view):
    page = open_view()
    position = page.get_by_role("listbox", name="Tokens").get_by_role("option")
    assert position.last.get_attribute("aria-selected") == "true"
    position.nth(4).focus()
    page.keyboard.press("Enter")
    answered(page)
    page.get_by_label("Token A").fill("·")
    page.get_by_label("Token A").press("Enter")
    page.get_by_label("Token B").fill("q")
    answered(page)  # and what is being typed stays
    page.get_by_label("Token B").press("Tab")
    wait_until(page, lambda: "position=4" in page.url and "b=q" in page.url)
    answered(page)
    said = page.inner_text(".sum")
    assert "the logits of blank and “q” differ" in said
    part(page, "L0H1").click()
    answered(page)
    assert pressed(page) == ["L0H1"] and page.inner_text(".change") != "0.000"
    assert page.inner_text(".sum") == said  # it is of the whole model
    part(page, "L1 bias").click()  # can only be read
    wait_until(page, lambda: "parts=L0H1&" in page.url + "&")
    page.reload()
    page.wait_for_selector(".sum")
    assert page.inner_text(".sum") == said
    assert page.get_by_label("Token A").input_value() == "·"
    assert position.nth(4).get_attribute("aria-selected") == "true"
    assert pressed(page) == ["L0H1"]
    page.get_by_label("Text to look at").fill("fox")  # shorter than the position: its last
    wait_until(page, lambda: position.count() == 3)
    assert position.last.get_attribute("aria-selected") == "true"
    assert page.get_by_role("alert").count() == 0


def test_what_cannot_be_is_said_in_words(open_view):
    page = open_view(expected=REFUSED)
    page.get_by_label("Token A").fill("ab")
    page.get_by_label("Token A").press("Enter")
    said = page.get_by_role("alert")
    wait_until(page, lambda: said.count() and said.inner_text() == "a: 'ab' is 2 tokens")
    page.get_by_label("Token A").fill("")
    page.get_by_label("Token A").press("Enter")
    wait_until(page, lambda: said.count() == 0)
    page.get_by_label("Text to look at").fill("a" * 38)
    wait_until(page, lambda: said.count() and "38 tokens are too many" in said.inner_text())
    page.get_by_label("Text to look at").fill("a")
    wait_until(page, lambda: page.locator(".token").count() == 1)
    wait_until(page, lambda: said.count() == page.locator(".loss").count() == 0)
    assert "nothing predicts it" in page.locator(".token").get_attribute("aria-label")


def test_a_bigram_s_refusal_is_said_once(open_view):
    page = open_view(model="table", expected=REFUSED)
    assert "a bigram has no layers" in page.get_by_role("alert").inner_text()
    assert page.locator(".frame").count() == 1 and page.locator(".parts").count() == 0


def test_a_narrow_screen_has_room_for_everything(open_view):
    page = open_view(width=360, text="the fox " * 4, parts="L0H1,L1 attention,L0 MLP", a="e")
    for element in (".look", "html"):
        assert page.eval_on_selector(element, "e => e.scrollWidth - e.clientWidth") <= 0
    page.get_by_role("button", name="All on").click()
    wait_until(page, lambda: page.locator(".change").count() == 0)


HOSTILE = """
  const real = window.fetch;
  const array = (values) => ({ shape: [values.length], type: "f4", data:
    btoa(String.fromCharCode(...new Uint8Array(new Float32Array(values).buffer))) });
  window.fetch = async (path, options) => {
    if (!path.endsWith("inspect")) return real(path, options);
    const texts = PAYLOADS, ids = texts.map((_, i) => i), zeros = ids.map(() => 0.5);
    const { view } = JSON.parse(options.body);
    const [a, b] = [0, 1].map((id) => ({ id, text: texts[id] }));
    const parts = texts.map((name) => ({ name, layer: null, head: null, value: 1 }));
    parts.push({ name: texts[0], layer: 0, head: 0, value: 2 });
    parts.push({ name: "L0 MLP", layer: 0, head: null, value: 3 });
    const own = view === "ablate"
      ? { losses: [1, 2], logprobs: array([...zeros, ...zeros].slice(2)), kl: array(zeros),
          likeliest: { ids, texts, before: zeros, after: zeros } }
      : { a, b, parts, position: 0, difference: 1, total: 1 };
    return new Response(JSON.stringify({ ...own, tokens: { ids, texts } }));
  };
"""


def test_hostile_tokens_are_only_text(open_view):
    page = open_view(script=HOSTILE.replace("PAYLOADS", json.dumps(PAYLOADS)), parts="L0H1")
    assert page.locator(".token").count() == len(PAYLOADS)
    assert page.locator(".frame").locator("script, img, svg, iframe, style, link").count() == 0
    assert "<script>" in page.inner_text(".sum")
    assert all("<script>" in each for each in page.locator(".shares").all_inner_texts())
    page.locator(".parts >> text=+2.00").focus()
    assert page.locator(".frame").locator("script, img, svg, iframe, style, link").count() == 0


def test_a_picture_is_taken(open_view):
    page = open_view(parts="L0H1")
    with page.expect_download() as taken:
        page.get_by_role("button", name="PNG").click()
    assert taken.value.suggested_filename == "ablate.png"
    assert taken.value.path().read_bytes()[:4] == b"\x89PNG"
