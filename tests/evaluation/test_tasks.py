"""Task files are read as they are published, and asked as the published protocols say."""

import gzip
import json
import math

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet

from minigpt2.errors import DataError, InputMissingError
from minigpt2.evaluation import likelihoods, tasks
from minigpt2.evaluation.scoring import Request
from minigpt2.evaluation.tasks import ask, find_files, hellaswag_items, lambada_items
from minigpt2.tokenizers import ByteTokenizer

PASSAGES = ["the dog saw the cat", "a fox is quick", "he went home and slept"]
QUESTION = {
    "ind": 24,
    "activity_label": "Roof shingle removal",
    "ctx_a": "A man is sitting on a roof.",
    "ctx_b": "he",
    "ctx": "A man is sitting on a roof. he",
    "endings": ["is using wrap.", "rips [title] tiles  off.", "[step] holds a cube.", "sits."],
    "label": "3",
}


def written(path, lines):
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture(params=["jsonl", "jsonl.gz", "parquet", "txt"])
def passages(request, tmp_path):
    path = tmp_path / f"lambada.{request.param}"
    rows = [json.dumps({"text": text}) for text in PASSAGES]
    if request.param == "jsonl.gz":
        path.write_bytes(gzip.compress("\n".join(rows).encode()))
    elif request.param == "parquet":
        parquet.write_table(pa.table({"text": PASSAGES}), path)
    else:
        written(path, rows if request.param == "jsonl" else PASSAGES)
    return path


def test_lambada_asks_for_the_last_word_whatever_form_the_file_has(passages):
    items = list(lambada_items(passages))
    assert [(item.context, item.endings) for item in items] == [
        ("the dog saw the", (" cat",)),
        ("a fox is", (" quick",)),
        ("he went home and", (" slept",)),
    ]
    assert items[1].place.endswith((", line 2", ", row 2"))


def test_hellaswag_is_formatted_as_the_harness_does(tmp_path):
    item = next(hellaswag_items(written(tmp_path / "h.jsonl", [json.dumps(QUESTION)])))
    assert item.context == "Roof shingle removal: A man is sitting on a roof. He"
    assert item.endings == (" is using wrap.", " rips. tiles off.", "  holds a cube.", " sits.")
    assert item.label == 3 and item.sizes == (14, 16, 14, 5)


def test_hellaswag_in_completion_style_takes_the_texts_as_they_are(tmp_path):
    path = tmp_path / "h.parquet"
    parquet.write_table(pa.Table.from_pylist([QUESTION]), path)
    item = next(hellaswag_items(path, "completion"))
    assert item.context == QUESTION["ctx"] and item.sizes is None
    assert item.endings == tuple(" " + ending for ending in QUESTION["endings"])


@pytest.fixture
def reader():
    """A byte model of the tiny shape, with a window of 61."""
    from minigpt2.model import GPT2, GPT2Config

    torch.manual_seed(3)
    model = GPT2(GPT2Config(256, 61, 2, 3, 21)).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def test_lambada_counts_greedy_words_and_their_perplexity(reader, tmp_path):
    path = written(tmp_path / "l.txt", PASSAGES)
    result = ask(reader, ByteTokenizer(), lambada_items(path))
    scores = [
        likelihoods(reader, [Request(list(context.encode()), [list((" " + word).encode())])])[0][0]
        for context, _, word in (text.rpartition(" ") for text in PASSAGES)
    ]
    assert result.accuracy.value == sum(score.greedy for score in scores) / 3
    mean = sum(score.logprob for score in scores) / 3
    assert result.perplexity == pytest.approx(math.exp(-mean))
    assert (result.items, result.left_out, result.cut) == (3, 0, 0)


def test_hellaswag_chooses_by_sum_and_by_mean(reader, tmp_path):
    rows = [{**QUESTION, "ctx_a": QUESTION["ctx_a"][n:], "label": n % 4} for n in range(8)]
    path = written(tmp_path / "h.jsonl", map(json.dumps, rows))
    result = ask(reader, ByteTokenizer(), hellaswag_items(path))
    right = normed = 0
    for item in hellaswag_items(path):
        context, sums = item.context.encode(), []
        for ending in item.endings:
            ids = torch.tensor([list(context + ending.encode())])[:, -62:]
            with torch.inference_mode():
                logprobs = reader(ids[:, :-1])[0].log_softmax(-1)
            wanted = ids[0, -len(ending) :]
            sums.append(logprobs[-len(ending) :].gather(1, wanted[:, None]).sum().item())
        means = [s / (len(e) - 1) for s, e in zip(sums, item.endings, strict=True)]
        right += sums.index(max(sums)) == item.label
        normed += means.index(max(means)) == item.label
    assert (result.accuracy.value, result.accuracy_normed.value) == (right / 8, normed / 8)
    assert result.cut > 0  # some contexts exceed the window of 61


def test_a_limit_takes_the_first_items(reader, tmp_path):
    path = written(tmp_path / "l.txt", PASSAGES)
    assert ask(reader, ByteTokenizer(), lambada_items(path), limit=2).items == 2


def test_answers_longer_than_the_window_are_left_out_and_counted(tiny, tokenizer, tmp_path):
    path = written(tmp_path / "l.txt", ["a " + "x" * 14, "a dog"])
    result = ask(tiny, tokenizer, lambada_items(path))
    assert (result.items, result.left_out) == (1, 1)
    with pytest.raises(DataError, match="no answer fits the window of 13"):
        ask(tiny, tokenizer, lambada_items(path), limit=1)


def test_a_tokenizer_that_cannot_express_an_item_is_told_with_its_line(tiny, tokenizer, tmp_path):
    path = written(tmp_path / "l.txt", ["a dog", "a Dog"])
    with pytest.raises(DataError, match=r"l\.txt, line 2: .*'D'"):
        ask(tiny, tokenizer, lambada_items(path))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"text": "a b"}\n{"text": 3}\n', "line 2: no text in a field 'text'"),
        ('{"text": "a b"}\n{"text"\n', "line 2 is not JSON"),
        ('{"txt": "a b"}\n', "line 1: no text in a field 'text'; there is txt"),
        ('["a b"]\n', "line 1 holds no JSON object"),
        ('{"text": "word"}\n', "line 1: 'word' is no passage"),
        ("", "there are no items"),
    ],
)
def test_a_broken_lambada_file_is_told_with_its_line(tiny, tokenizer, tmp_path, content, message):
    path = tmp_path / "l.jsonl"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        ask(tiny, tokenizer, lambada_items(path))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"endings": "one"}, "'endings' is no list"),
        ({"endings": ["a", 3]}, "'endings' is no list"),
        ({"endings": []}, "'endings' is no list"),
        ({"endings": ["a", "[step]"], "label": 0}, "nothing but brackets"),
        ({"label": ""}, "label '' is none of 4 endings"),
        ({"label": "4"}, "label '4' is none of 4 endings"),
        ({"label": "²"}, "label '²' is none of 4 endings"),
        ({"ctx_a": None}, "no text in a field 'ctx_a'"),
    ],
)
def test_a_broken_hellaswag_file_is_told_with_its_line(tmp_path, change, message):
    lines = [json.dumps(QUESTION), json.dumps({**QUESTION, **change})]
    with pytest.raises(DataError, match=f"line 2: .*{message}"):
        list(hellaswag_items(written(tmp_path / "h.jsonl", lines)))


def test_files_that_are_no_table_or_no_text_are_refused(tmp_path):
    with pytest.raises(DataError, match="as it is published"):
        list(hellaswag_items(written(tmp_path / "h.csv", ["a"])))
    (tmp_path / "l.txt").write_bytes(b"a dog\na \xff\n")
    with pytest.raises(DataError, match="line 2: not UTF-8 at byte 2"):
        list(lambada_items(tmp_path / "l.txt"))
    (tmp_path / "l.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="no whole parquet file"):
        list(lambada_items(tmp_path / "l.parquet"))
    with pytest.raises(InputMissingError, match="without --data lambada is fetched"):
        find_files("lambada", str(tmp_path / "none.jsonl"), print)


def test_a_task_without_a_file_is_fetched_by_its_name(monkeypatch, tmp_path):
    asked = []

    def fetch(name, address, say):
        asked.append((name, address))
        return [tmp_path]

    monkeypatch.setattr(tasks.sources, "fetch", fetch)
    for task in tasks.ADDRESSES:
        assert find_files(task, None, print) == [tmp_path]
    assert asked == list(tasks.ADDRESSES.items())
    assert all(address.startswith(("https://", "hf://datasets/")) for _, address in asked)


def test_the_interval_holds_what_it_should():
    """Of many experiments with a known rate, about 95 in 100 intervals contain it."""
    torch.manual_seed(0)
    for rate in (0.05, 0.3):
        counts = (torch.rand(2000, 60) < rate).sum(1).tolist()
        inside = sum(tasks.share(c, 60).low <= rate <= tasks.share(c, 60).high for c in counts)
        assert 0.93 < inside / 2000 < 0.975
    assert tasks.share(0, 5).low == 0.0 and tasks.share(5, 5).high == 1.0
