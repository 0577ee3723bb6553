"""The page of runs: what it says, that it is self-contained, and that no log or name breaks it."""

import json
import math
import re
import shutil
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml

from minigpt2.__main__ import run
from minigpt2.config import SECTIONS, Config, flatten
from minigpt2.files import sealed
from minigpt2.reports import COLOURS, draw_curves, write_report
from minigpt2.reports.figures import PICTURES, draw, looks, png, svg
from minigpt2.reports.runs import (
    Curve,
    band,
    best_loss,
    group_runs,
    points,
    read_runs,
    short_names,
    smoothed,
    thinned,
)

VOID = {"meta", "input", "br", "hr", "img", "link"}
SAMPLE = "<script>alert('no')</script> & \x1b[31mred"
BIGRAM = 2.5051
ODD_NAMES = [
    "_a",
    "$x_$",
    "<b>&amp;\"'",
    "漢字 😀",
    "'DejaVu Sans'<",
    "y" * 90 + "1",
    "y" * 90 + "2",
]


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def undrawn(monkeypatch):
    """Leave the figures out of a page: two seconds, where its text is the matter."""
    monkeypatch.setattr("minigpt2.reports.figures.draw", lambda *args: None)
    monkeypatch.setattr("minigpt2.reports.figures.svg", lambda *args: '<svg role="img"></svg>')
    monkeypatch.setattr("minigpt2.reports.figures.png", lambda figure: b"")


def a_log(seed=1, steps=30):
    return [
        {
            "step": step,
            "tokens": 48 * step,
            "seconds": 0.5 * step,
            "train_loss": 4 / step**0.5 + 0.01 * seed,
            "learning_rate": 1e-3,
            "grad_norm": 1 / step,
            "tokens_per_second": 96.0 + seed,
        }
        | ({"val_loss": 4.1 / step**0.5 + 0.02 * seed, "train_eval_loss": 4 / step**0.5}
           if step % 5 == 0 else {})
        for step in range(1, steps + 1)
    ]  # fmt: skip


def a_run(name, log=None, seed=1, bigram_loss=BIGRAM, **told):
    """Write what a training run leaves of text: log, configuration, facts and samples."""
    folder = Path(name)
    folder.mkdir(parents=True)
    values = flatten(Config()) | {"training.max_steps": 30, "training.seed": seed} | told
    tree = {section: {} for section in SECTIONS}
    for key, value in values.items():
        section, option = key.split(".", 1)
        tree[section][option] = value
    (folder / "config.yaml").write_text(yaml.safe_dump(tree), encoding="utf-8")
    facts = {
        "plan": {"device": "cpu", "threads": 2, "compile": False},
        "data": {"recipe": {"tokenizer": "char"}, "vocab_size": 65},
        "bigram_loss": bigram_loss,
    }
    (folder / "run.json").write_bytes(sealed(facts))
    lines = [json.dumps(entry) + "\n" for entry in (a_log(seed) if log is None else log)]
    (folder / "metrics.jsonl").write_text("".join(lines), encoding="utf-8")
    samples = "".join(f"=== step {step} ===\n{SAMPLE} at {step}\n\n" for step in range(10, 130, 10))
    (folder / "samples.txt").write_text(samples, encoding="utf-8")
    return folder


def page_of(*paths, out="out"):
    said = []
    page = write_report([Path(path) for path in paths], Path(out), said.append)
    return page.read_text(encoding="utf-8"), said


class Checked(HTMLParser):
    """Reads a page; every element it opens must be closed in order."""

    def __init__(self, page):
        super().__init__()
        self.open, self.attributes, self.ids, self.text = [], [], [], []
        self.feed(page)
        self.close()
        assert not self.open

    def handle_starttag(self, tag, attrs):
        self.attributes += [(tag, *attribute) for attribute in attrs]
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory):
    """Two seeds of one configuration and another configuration, and their page."""
    folder = tmp_path_factory.mktemp("three")
    for seed in (1, 2):
        a_run(folder / f"seed{seed}", seed=seed)
    a_run(folder / "wide", **{"model.n_embd": 256})
    paths = [folder / name for name in ("seed1", "seed2", "wide")]
    write_report(paths, folder / "out", print)
    return folder / "out", paths


def test_a_page_of_seeds_and_another_configuration(three_runs):
    page = (three_runs[0] / "index.html").read_text(encoding="utf-8")
    losses = [min(e["val_loss"] for e in a_log(seed) if "val_loss" in e) for seed in (1, 2)]
    mean, spread = np.mean(losses), np.std(losses, ddof=1)
    assert f"<td>{mean:.4f} ± {spread:.4f}</td>" in page
    assert all(f"{loss:.4f}" in page for loss in losses)
    text = "".join(Checked(page).text)
    assert f"seed1 (2 seeds), best {mean:.4f} ± {spread:.4f}" in text  # the legend
    assert f"wide, best {losses[0]:.4f}" in text
    assert (
        "4 / 4 / 256 / 64" in text and "<td>char</td>" in page and "device cpu, threads 2" in text
    )
    assert f"bigram table {BIGRAM}" in text
    assert page.count("<figure") == len(PICTURES) == page.count('role="img"')
    assert page.count("fill-opacity: 0.22") >= len(PICTURES)  # the band of the two seeds


def test_the_pictures_stand_beside_the_page(three_runs):
    out, _ = three_runs
    assert {path.name for path in out.iterdir()} == {
        "index.html", "loss.png", "loss-by-tokens.png", "loss-by-seconds.png", "learning-rate.png",
        "gradient-norm.png", "gap.png", "speed.png",
    }  # fmt: skip
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in out.glob("*.png"))


def test_the_page_needs_nothing_else(three_runs):
    page = (three_runs[0] / "index.html").read_text(encoding="utf-8")
    checked = Checked(page)
    for tag, name, value in checked.attributes:
        assert tag != "script" and not name.startswith("on")
        if name in ("src", "href", "xlink:href", "action", "data", "poster"):
            assert value.startswith("#"), (tag, name, value)
    assert not re.search(r"url\((?!#)|@import|<script|<link|<iframe", page)
    assert "http://" not in page.replace("http://www.w3.org/", "") and "https://" not in page
    assert "default-src 'none'" in page
    assert len(page) < 400_000


def test_what_is_referred_to_in_the_page_is_there_once(three_runs):
    page = (three_runs[0] / "index.html").read_text(encoding="utf-8")
    ids = Checked(page).ids
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="#|url\(#|for=")([^")]+)', page)) <= set(ids)


def test_axes_take_the_colour_of_the_page(three_runs):
    page = (three_runs[0] / "index.html").read_text(encoding="utf-8")
    assert "currentColor" in page and COLOURS[0].lower() in page
    assert "#000000" not in page and not re.search(r"<text(?![^>]*currentColor)", page)


def test_a_report_is_the_same_bytes_whenever_it_is_made(three_runs, tmp_path):
    out, paths = three_runs
    write_report(paths, tmp_path / "again", print)
    for path in out.iterdir():
        assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes(), path.name


def test_a_report_takes_the_place_of_a_report_and_of_nothing_else(undrawn, three_runs, tmp_path):
    _, paths = three_runs
    write_report(paths[:1], tmp_path / "out", print)
    write_report(paths[2:], tmp_path / "out", print)
    assert "<h1>wide</h1>" in (tmp_path / "out" / "index.html").read_text(encoding="utf-8")
    for name in ("index.html", "gap.png"):
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / name).write_text("mine", encoding="utf-8")
        assert run(["report", str(paths[0]), "--out", "mine"]) == 2
        assert (tmp_path / "mine" / name).read_text(encoding="utf-8") == "mine"
        shutil.rmtree(tmp_path / "mine")


def test_text_of_a_model_is_only_ever_text(undrawn):
    page, _ = page_of(a_run("one"))
    assert "<script" not in page and "\x1b" not in page
    said = [text.strip() for text in Checked(page).text]
    assert "<script>alert('no')</script> & ␛[31mred at 10" in said


def test_samples_are_a_handful_spread_evenly(undrawn):
    page, _ = page_of(a_run("one"))
    steps = [int(step) for step in re.findall(r"<summary>step (\d+)</summary>", page)]
    assert len(steps) == 5 and (steps[0], steps[-1]) == (10, 120)
    assert {later - earlier for earlier, later in pairwise(steps)} <= {20, 30}


def test_odd_names_are_shown_as_they_are(undrawn):
    names = [*ODD_NAMES, "\u202e", "x" * 200]
    widths = range(64, 64 + len(names))
    for name, width in zip(names, widths, strict=True):
        a_run(name, **{"model.n_embd": width})
    page, _ = page_of(*names)
    text = "".join(Checked(page).text)
    for name in names:
        assert name.replace("\u202e", "\ufffd") in text
    assert "<b>" not in page and "\u202e" not in page


def test_a_legend_tells_odd_names_as_they_are():
    curves = [Curve(name, [a_log()]) for name in ODD_NAMES]
    figure = draw(PICTURES[0], curves)
    assert png(figure).startswith(b"\x89PNG")
    text = "".join(Checked(svg(figure, "loss", "<i>")).text)
    for name in ODD_NAMES:
        assert f"{name[-20:]}, best" in text
    assert "y" * 60 not in text


def test_runs_of_one_name_are_told_apart_by_their_folders(undrawn):
    assert short_names([Path("x/a"), Path("y/a"), Path("y/b")]) == ["x/a", "y/a", "b"]
    a_run("x/a"), a_run("y/a", **{"model.n_embd": 64})
    page, _ = page_of("x/a", "y/a")
    assert "x/a" in page and "y/a" in page and str(Path.cwd()) not in page


def test_seeds_are_grouped_and_nothing_else_is():
    a_run("a", seed=1, **{"logging.log_interval": 3})
    a_run("b", seed=2)
    a_run("other rate", seed=2, **{"training.learning_rate": 0.1})
    a_run("other data", seed=3)
    facts = {"plan": {}, "data": {"sources": [{"sha256": "0"}]}, "bigram_loss": None}
    Path("other data/run.json").write_bytes(sealed(facts))
    for name in ("lost 1", "lost 2"):
        a_run(name)
        Path(name, "config.yaml").unlink()
    paths = [Path(name) for name in ("a", "other rate", "b", "other data", "lost 1", "lost 2")]
    grouped = [[run.name for run in group] for group in group_runs(read_runs(paths, print))]
    assert grouped == [["a", "b"], ["other rate"], ["other data"], ["lost 1"], ["lost 2"]]


def test_one_run_given_twice_is_no_second_seed(undrawn):
    a_run("a")
    page, _ = page_of("a", "./a", str(Path("a").absolute()))
    assert "seeds" not in page.split("</style>")[1] and "<h1>a</h1>" in page


def test_the_band_equals_brute_force():
    def at(place, xs, ys):
        """The straight line between a curve's neighbours of a place."""
        for i in range(len(xs) - 1):
            if xs[i] <= place <= xs[i + 1]:
                return ys[i] + (ys[i + 1] - ys[i]) * (place - xs[i]) / (xs[i + 1] - xs[i])
        raise AssertionError("outside")

    random = np.random.default_rng(5)
    curves = []
    for count in (7, 11, 5):
        xs = np.sort(random.choice(100, count, replace=False)).astype(float)
        curves.append((xs, random.normal(size=count)))
    start, stop = max(xs[0] for xs, _ in curves), min(xs[-1] for xs, _ in curves)
    places, values = band(curves)
    every = sorted({x for xs, _ in curves for x in xs if start <= x <= stop})
    assert places.tolist() == every and len(every) > 5
    for place, column in zip(places, values.T, strict=True):
        there = [at(place, xs, ys) for xs, ys in curves]
        assert column == pytest.approx([min(there), sum(there) / 3, max(there)])
    few, _ = band(curves, most=4)
    assert len(few) == 4 and few[0] == start and few[-1] == stop


def test_seeds_without_a_common_range_are_drawn_as_lines():
    early, late = (np.array([1.0, 2.0]), np.zeros(2)), (np.array([5.0, 6.0]), np.zeros(2))
    assert band([early, late]) is None
    drawn = draw(PICTURES[0], [Curve("two", [a_log()[:6], a_log()[10:]])])
    assert len(drawn.axes[0].lines) == 4 and not drawn.axes[0].collections


def test_thinning_keeps_peaks_and_ends():
    xs = np.arange(100_000.0)
    ys = np.sin(xs)
    ys[77_777], ys[12_345] = 50.0, -50.0
    few_xs, few_ys = thinned((xs, ys), 1500)
    assert len(few_xs) <= 1502 and (np.diff(few_xs) > 0).all()
    assert few_ys.max() == 50 and few_ys.min() == -50
    assert (few_xs[0], few_xs[-1]) == (0, 99_999)
    assert thinned((xs[:9], ys[:9]))[0] is not None and len(thinned((xs[:9], ys[:9]))[0]) == 9


def test_smoothing_is_a_centred_mean():
    values = np.random.default_rng(3).normal(size=200).tolist()
    there = smoothed(values)
    assert there[100] == pytest.approx(np.mean(values[95:106]))
    assert there[0] == values[0] and there[2] == pytest.approx(np.mean(values[:5]))


def test_what_was_before_training_is_no_best_loss():
    log = [{"step": 0, "val_loss": 1.0}, {"step": 5, "val_loss": 3.0}, {"step": 9, "val_loss": 2.0}]
    assert best_loss(log) == (2.0, 9)
    assert best_loss(log[:1]) is None
    xs, gaps = points([{"step": 1, "val_loss": 3.0, "train_eval_loss": 2.5}], "step", "gap")
    assert (xs.tolist(), gaps.tolist()) == ([1.0], [0.5])


def test_logs_of_nonsense_are_drawn(undrawn, capsys):
    log = a_log()
    log[3]["train_loss"] = math.nan
    log[4]["val_loss"] = math.nan
    log[6]["train_loss"] = math.inf
    log[7]["grad_norm"] = 0.0
    log[8]["grad_norm"] = "1"
    log[9]["val_loss"] = None
    log[10]["tokens"] = 10**400
    log[11]["seconds"] = -1e300
    log[12]["learning_rate"] = [1]
    a_run("odd", log)
    a_run("nan", [{"step": 1, "train_loss": math.nan, "val_loss": math.nan}])
    page, said = page_of("odd", "nan")
    assert not said
    for picture in PICTURES:
        draw(picture, [Curve("odd", [log]), Curve("nan", [log[:4], log])], BIGRAM)
    assert "odd: 4 of 36 losses are no number." in page
    assert "nan: 2 of 2 losses are no number." in page
    page, _ = page_of("nan")
    assert "No evaluation is logged yet." in page
    drawn = svg(draw(PICTURES[0], [Curve("nan", [log[3:4]])], BIGRAM), "loss", "nan")
    assert "nothing is logged yet" in drawn and "bigram" not in drawn


def test_a_run_that_is_being_trained_is_reported(undrawn):
    folder = a_run("torn", a_log()[:7])
    with (folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
        file.write('{"step": 8, "train_lo')
    page, said = page_of("torn")
    assert "<td>7</td>" in page and not said


def test_what_is_damaged_beside_the_log_is_said_and_left_out(undrawn):
    folder = a_run("a")
    (folder / "run.json").write_text("{}", encoding="utf-8")
    (folder / "config.yaml").write_text("model: {", encoding="utf-8")
    (folder / "samples.txt").write_bytes(b"=== step 1 ===\n\xff\xfe\n")
    page, said = page_of("a")
    assert len(said) == 2 and "run.json" in said[1] and "config" in said[0]
    assert "bigram table 2" not in page and "\ufffd\ufffd" in page


def test_evaluations_are_a_table_and_a_damaged_one_is_named(undrawn):
    folder = a_run("a")
    (folder / "evaluations").mkdir()
    records = {
        "loss": {"loss": 2.25, "perplexity": math.inf, "bits_per_byte": None, "window": 64,
                 "data": "/secret/place/text.txt", "baselines": {"unigram<": 3.5}},
        "lambada": {"task": "lambada", "items": 1234,
                    "accuracy": {"value": 0.5, "low": 0.25, "high": 0.75}},
        "odd": {"task": ["<i>"], "loss": "<u>", "baselines": [1], "accuracy": {}},
    }  # fmt: skip
    for name, record in records.items():
        (folder / "evaluations" / f"{name}.json").write_text(json.dumps(record), encoding="utf-8")
    (folder / "evaluations" / "torn.json").write_text("{", encoding="utf-8")
    page, said = page_of("a")
    assert len(said) == 1 and "torn.json" in said[0]
    for part in (
        "0.5000 (0.2500 to 0.7500)",
        "1,234",
        "text.txt",
        "<td>inf</td>",
        "unigram&lt; 3.5000",
    ):
        assert part in page
    assert "secret" not in page and "<i>" not in page and "<u>" not in page
    assert "word perplexity" not in page  # no column of nothing
    Checked(page)


def test_a_hundred_runs_make_one_readable_page():
    log = a_log()
    paths = [a_run(f"run{i}", log, **{"model.n_embd": 8 + i}) for i in range(100)]
    logs = [Curve(path.name, [log]) for path in paths]
    named = [look for look in looks(logs) if look.marker]
    assert len(named) == 12
    assert len({(look.colour, look.dashes) for look in named}) == 12  # no two look the same
    drawn = svg(draw(PICTURES[0], logs), "loss", "hundred")
    assert "gray: 88 more" in drawn and drawn.count("run") < 40
    assert len(drawn) < 1_000_000
    groups = group_runs(read_runs(paths, print))
    assert len(groups) == 100


def test_many_points_make_a_small_picture():
    random = np.random.default_rng(1)
    log = [
        {"step": i, "train_loss": loss}
        for i, loss in enumerate(random.normal(3, 0.5, size=50_000).tolist(), 1)
    ]
    assert len(svg(draw(PICTURES[0], [Curve("long", [log])]), "loss", "long")) < 150_000


def test_the_curve_of_a_run_is_a_picture(tmp_path):
    draw_curves({"a": a_log()}, tmp_path / "loss.png", bigram_loss=2.4)
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")
    assert png(draw(PICTURES[0], [Curve("none", [[]])])).startswith(b"\x89PNG")


def one_line(capsys):
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0]


def test_bad_input_is_told_in_one_line(undrawn, capsys):
    a_run("good"), a_run("empty", []), a_run("damaged")
    Path("damaged/metrics.jsonl").write_text('{"step": 1}\n[]\n{"step": 3}\n', encoding="utf-8")
    Path("folder").mkdir()
    Path("file").touch()
    for arguments, code, part in (
        (["nothing"], 66, "nothing is no run directory: no folder"),
        (["file"], 66, "file is no run directory: no folder"),
        (["good", "folder"], 66, "folder is no run directory: no config"),
        (["damaged"], 65, "line 2 is damaged"),
        (["good", "--out", "page.html"], 2, "--out is a folder"),
        (["good", "--out", "file"], 2, "--out is a folder"),
        ([], 66, "no run under runs/"),
    ):
        assert run(["report", *arguments]) == code, arguments
        assert part in one_line(capsys)
    assert run(["report", "empty"]) == 65
    assert "nothing to report" in capsys.readouterr().err
    assert run(["report", "empty", "good"]) == 0
    out, err = capsys.readouterr()
    assert "skipped empty" in err and Path(out.strip()) == Path("report/index.html")
    assert Path("report/index.html").is_file() and not Path("page.html").exists()


def test_the_page_of_one_run_goes_into_it(undrawn, capsys):
    a_run("good")
    assert run(["report", "good"]) == 0
    assert Path(capsys.readouterr().out.strip()) == Path("good/report/index.html")
    page = Path("good/report/index.html").read_text(encoding="utf-8")
    assert "<code>minigpt2 report good</code>" in page
