"""The view of training runs in a real browser: curves, growth, samples, and kept checkpoints."""

import json
import shutil

import pytest
import torch
from tests.server.browsing import PAYLOADS, address_of, needs_browser, wait_until
from tests.server.test_runs import train_twins

from minigpt2.checkpoints import RunDirectory, load_checkpoint
from minigpt2.files import replace_file
from minigpt2.server.runs import Runs

pytestmark = needs_browser
KEPT = [0, 1, 2, 3, 4, 6, 8]
VIEW = address_of(view="runs")


@pytest.fixture
def folder(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "runs", symlinks=True)
    return tmp_path / "runs"


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    return train_twins(tmp_path_factory.mktemp("trained"))


@pytest.fixture
def served(folder, serving):
    told = Runs({"fox": RunDirectory(folder / "fox")}, load_checkpoint)
    with serving({"fox": load_checkpoint(folder / "fox/best")}, runs=told) as running:
        yield f"{running.url}/"


def log_of(folder, name):
    text = (folder / name / "metrics.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def told(page):
    """Return what is read of the curves: the step, and the numbers of each run that is drawn."""
    drawn = [row for row in page.locator(".list tbody tr").all() if row.locator(":checked").count()]
    numbers = {}
    for row in drawn:
        name, *values, _, _ = (cell.strip() for cell in row.inner_text().split("\t"))
        numbers[name] = [None if v == "–" else float(v.replace(",", "")) for v in values]
    return page.inner_text(".list caption"), numbers


def rows(page):
    """Return the best loss and the steps of each run."""
    texts = page.locator(".list tbody tr").all_inner_texts()
    cells = [[cell.strip() for cell in text.split("\t")] for text in texts]
    return {name: rest[-2:] for name, *rest in cells}


def is_read(page, *names):
    """Return whether the curves of these runs, and of no other, have come."""
    if not page.locator(".list caption").count():
        return False
    numbers = told(page)[1]
    return set(numbers) == set(names) and all(None not in values for values in numbers.values())


def test_the_numbers_are_those_of_the_log(served, folder, open_page):
    log = log_of(folder, "fox")
    page = open_page(served, VIEW)
    wait_until(page, lambda: is_read(page, "fox", "other"))
    last = [log[-1]["val_loss"], log[-1]["train_loss"]]
    both = {name: pytest.approx(last, rel=1e-4) for name in ("fox", "other")}
    assert told(page) == ("The last of each run", both)
    best = min(entry["val_loss"] for entry in log if "val_loss" in entry)
    cells = rows(page)
    assert float(cells["fox"][0]) == pytest.approx(best, rel=1e-4)
    assert cells["other"] == cells["fox"] and cells["fox"][1] == "9 of 9"
    page.locator(".chart").focus()
    page.keyboard.press("Home")
    for entry in log:  # the arrow keys go from one logged step to the next
        step, numbers = told(page)
        known = [e["val_loss"] for e in log if "val_loss" in e and e["step"] <= entry["step"]]
        assert step == f"At step {entry['step']}"
        assert numbers["fox"][1] == pytest.approx(entry["train_loss"], rel=1e-4)
        assert numbers["fox"][0] == (pytest.approx(known[-1], rel=1e-4) if known else None)
        page.keyboard.press("ArrowRight")
    for title, name in (
        ("Learning rate", "learning_rate"), ("Tokens a second", "tokens_per_second"),
        ("Gradient norm", "grad_norm"),
    ):  # fmt: skip
        page.get_by_label(title).check()
        wait_until(page, lambda: is_read(page, "fox", "other") and len(told(page)[1]["fox"]) == 1)
        assert told(page)[1]["fox"] == [pytest.approx(log[-1][name], rel=1e-4)]


def test_the_curves_are_drawn_where_the_numbers_are(served, open_page):
    page = open_page(served, VIEW)
    page.wait_for_selector(".uplot canvas")
    drawn = "c => new Set(c.getContext('2d').getImageData(0, 0, c.width, c.height).data).size"
    wait_until(page, lambda: page.locator(".uplot canvas").evaluate(drawn) > 20)
    page.get_by_label("Draw other").uncheck()
    wait_until(page, lambda: "shown=fox" in page.url and is_read(page, "fox"))
    page.reload()
    wait_until(page, lambda: is_read(page, "fox"))
    page.get_by_label("Draw fox").uncheck()
    wait_until(page, lambda: page.locator(".chart").count() == 0)
    page.get_by_label("Draw fox").check()
    page.wait_for_selector(".chart")


def test_a_run_is_seen_growing_and_only_it_is_asked_for_again(served, folder, open_page):
    page = open_page(served, VIEW)
    wait_until(page, lambda: is_read(page, "fox", "other"))
    asked = []
    page.on("request", lambda request: asked.append(request.url.rpartition("/api/")[2]))
    run = RunDirectory(folder / "other")
    config = run.config_path.read_text(encoding="utf-8").replace("max_steps: 9", "max_steps: 40")
    replace_file(run.config_path, config.encode())  # in one step: a run half written is none
    run.log({"step": 10, "train_loss": 1.25, "val_loss": 1.5})
    wait_until(page, lambda: told(page)[1].get("other") == [1.5, 1.25])
    wait_until(page, lambda: rows(page)["other"] == ["1.5", "10 of 40"])
    assert set(asked) == {"runs", "runs/other"} and asked.count("runs/other") == 1
    page.evaluate("Object.defineProperty(document, 'hidden', {get: () => true})")
    page.wait_for_timeout(500)
    asked.clear()
    page.wait_for_timeout(2500)
    assert not asked  # nobody sees it


def test_a_checkpoint_kept_meanwhile_can_be_chosen(served, folder, open_page):
    run = RunDirectory(folder / "fox")
    config = run.config_path.read_text(encoding="utf-8").replace("max_steps: 9", "max_steps: 40")
    replace_file(run.config_path, config.encode())  # in one step: a run half written is none
    run.log({"step": 10, "train_loss": 1.25})  # it is being trained, as far as its log tells
    page = open_page(served, address_of(view="next", text="the fox", step=3))
    slider = page.get_by_role("slider", name="Checkpoint")
    page.wait_for_selector(".seen:not(.stale) > *")
    wait_until(page, lambda: slider.get_attribute("max") == str(len(KEPT)))
    asked = []
    page.on("request", lambda request: asked.append(request.url))
    shutil.copytree(folder / "fox/history/step-00000008", folder / "fox/history/step-00000011")
    wait_until(page, lambda: slider.get_attribute("max") == str(len(KEPT) + 1))
    assert slider.get_attribute("aria-valuetext") == "step 3 of training"
    assert {url.rpartition("/api/")[2] for url in asked} == {"runs"}  # what is shown was left alone
    slider.press("End")
    slider.press("ArrowLeft")
    assert slider.get_attribute("aria-valuetext") == "step 11 of training"


def test_letters_that_the_model_does_not_know_are_left_out(served, open_page):
    page = open_page(served, address_of(view="next", text="the fox ∑∏"), ("400",))
    page.get_by_role("button", name="Leave such ones out").click()
    page.wait_for_selector(".candidates")
    assert page.locator(".looked textarea").input_value() == "the fox "
    page = open_page(served, address_of(view="next"), ("400",))  # nor does an example have them
    page.wait_for_selector(".candidates")


def test_a_checkpoint_s_numbers_are_its_own_in_every_view(served, folder, open_page):
    answers = []
    page = open_page(served, address_of(view="runs", text="the fox"))
    page.on("response", lambda answer: "inspect" in answer.url and answers.append(answer))
    wait_until(page, lambda: is_read(page, "fox", "other"))
    before = page.locator(".uplot canvas").evaluate("c => c.toDataURL()")
    slider = page.get_by_role("slider", name="Checkpoint")
    slider.press("ArrowLeft")
    slider.press("ArrowLeft")
    wait_until(page, lambda: told(page)[0] == "At step 6" and "step=6" in page.url)
    trained = {entry["step"]: entry["train_loss"] for entry in log_of(folder, "fox")}
    assert told(page)[1]["fox"][1] == pytest.approx(trained[6], rel=1e-4)
    # A line was drawn through it.
    wait_until(page, lambda: page.locator("canvas").evaluate("c => c.toDataURL()") != before)
    page.get_by_role("link", name="Next token").click()
    page.wait_for_selector("h2 >> text=Next token")
    wait_until(page, lambda: answers)
    data = answers[-1].json()
    assert data["model"] == "fox@6" and slider.get_attribute("aria-valuetext").startswith("step 6 ")
    model, tokenizer = load_checkpoint(folder / "fox/history/step-00000006")
    with torch.no_grad():
        logits = model(torch.tensor([tokenizer.encode("the fox")]))[0][-1]
    assert data["likeliest"]["ids"][:5] == logits.topk(5).indices.tolist()


def test_training_is_played_while_attention_is_watched(served, open_page):
    asked = []
    page = open_page(served, address_of(view="attention", text="the fox", step=0))
    page.on("request", lambda r: "inspect" in r.url and asked.append(r.post_data_json["model"]))
    page.wait_for_selector(".seen > *")
    asked.clear()
    page.get_by_role("button", name="Play through training").click()
    slider = page.get_by_role("slider", name="Checkpoint")
    wait_until(page, lambda: slider.get_attribute("aria-valuetext") == "as served")
    wait_until(page, lambda: asked[-1:] == ["fox"])
    played = [name for name in dict.fromkeys(asked) if name != "fox@0"]  # it was there before
    assert played == [f"fox@{step}" for step in KEPT[1:]] + ["fox"]
    slider.fill("1")
    page.get_by_role("button", name="Play through training").click()
    wait_until(page, lambda: slider.get_attribute("aria-valuetext") == "step 2 of training")
    page.get_by_role("button", name="Pause").click()
    held = slider.get_attribute("aria-valuetext")
    page.wait_for_timeout(1200)
    assert slider.get_attribute("aria-valuetext") == held
    assert page.get_by_role("alert").count() == 0


def test_samples_are_gone_through_with_the_curves(served, folder, open_page):
    page = open_page(served, VIEW)
    written = (folder / "fox/samples.txt").read_text(encoding="utf-8")
    wait_until(page, lambda: is_read(page, "fox", "other"))
    page.locator(".chart").focus()
    for step, keys in ((9, 0), (6, 3), (3, 3)):
        for _ in range(keys):
            page.keyboard.press("ArrowLeft")
        wait_until(page, lambda step=step: f"Sample of step {step}" in page.inner_text(".one"))
        shown = page.locator(".one pre").text_content()
        assert f"=== step {step} ===\n{shown}".strip() in written
    page.keyboard.press("End")  # and with the checkpoint that is looked into
    page.reload()
    page.get_by_role("slider", name="Checkpoint").fill("4")
    wait_until(page, lambda: "Sample of step 3" in page.inner_text(".one"))


def test_a_run_that_is_not_served_says_how_to_open_it(served, open_page):
    page = open_page(served, VIEW)
    page.get_by_role("button", name="other").focus()
    page.keyboard.press("Enter")
    wait_until(page, lambda: "This run is not served" in page.inner_text(".one"))
    assert page.locator(".one h3").inner_text() == "other"
    wait_until(page, lambda: "run=other" in page.url)
    page.get_by_role("button", name="fox").click()
    wait_until(page, lambda: "Every view looks into this run" in page.inner_text(".one"))
    wait_until(page, lambda: "model=fox" in page.url and "run=" not in page.url)


def test_without_runs_it_says_what_would_be_here(sliding, open_page):
    page = open_page(sliding, VIEW)
    wait_until(page, lambda: "minigpt2 train" in page.inner_text(".frame"))
    assert page.locator("canvas, table").count() == 0


def test_hostile_names_are_only_text(served, open_page):
    page = open_page(served, VIEW, ("404",), viewport={"width": 360, "height": 740})

    def hostile(route):
        one = {"model": None, "step": 3, "steps": 9, "val_loss": 1.5, "updated": 1, "history": []}
        route.fulfill(json={"runs": [{**one, "name": name} for name in PAYLOADS]})

    def curve(route):
        curves = {"val_loss": {"x": [1, 3], "y": [2.5, 1.5]}}
        samples = [{"step": 3, "text": PAYLOADS[0]}]
        route.fulfill(json={"name": "x", "curves": curves, "samples": samples})

    page.route("**/api/runs", hostile)
    page.route("**/api/runs/*", curve)
    page.reload()
    wait_until(page, lambda: page.locator(".list tbody tr").count() == len(PAYLOADS))
    wait_until(page, lambda: page.locator(".one pre").count())
    assert page.locator(".list :checked").count() == 6
    assert page.locator(".frame").locator("script, img, svg, iframe, style, link").count() == 0
    buttons = page.locator(".list button")
    for i in range(0, len(PAYLOADS), 7):
        buttons.nth(i).click()
        assert page.locator(".one h3").text_content() == buttons.nth(i).text_content()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.evaluate("document.querySelector('.look').scrollWidth") <= 360


def test_a_narrow_screen_and_both_schemes(served, open_page):
    pictures = set()
    for scheme in ("light", "dark"):
        page = open_page(served, VIEW, viewport={"width": 360, "height": 740}, color_scheme=scheme)
        wait_until(page, lambda page=page: is_read(page, "fox", "other"))
        assert page.evaluate("document.querySelector('.look').scrollWidth") <= 360
        box = page.locator(".uplot").bounding_box()
        assert box["x"] >= 0 and box["x"] + box["width"] <= 360
        page.wait_for_timeout(300)
        pictures.add(page.locator(".uplot canvas").evaluate("c => c.toDataURL()"))
    page.emulate_media(color_scheme="light")  # drawn anew
    wait_until(
        page, lambda: page.locator(".uplot canvas").evaluate("c => c.toDataURL()") in pictures
    )
    assert len(pictures) == 2
