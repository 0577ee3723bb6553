"""WikiText by token and by word, each against its definition."""

import json
import math
import re

import pyarrow as pa
import pytest
import torch
from pyarrow import parquet
from torch.nn import functional as F

from minigpt2.errors import DataError
from minigpt2.evaluation.tasks import articles, plain, wikitext, word_perplexity
from minigpt2.model import GPT2, GPT2Config
from minigpt2.tokenizers import ByteTokenizer

RAW = (
    " \n = Robert Boulter = \n \n Robert is an actor , born in 1 @,@ 980 . \n"
    " = = Career = = \n \n He said ' yes ' ( twice ) . \n \n = Du Fu = \n \n Du Fu was a poet . \n"
)


def test_articles_are_cut_at_titles_and_not_at_sections():
    found = articles(RAW)
    assert [article.splitlines()[0] for article in found] == [" = Robert Boulter = ", " = Du Fu = "]
    assert " = = Career = = " in found[0]
    assert articles("no title") == ["no title"]
    assert articles("before\n = A b = \n")[0] == "before\n"


def test_plain_text_has_no_blanks_that_the_layout_put_there():
    text = "a state @-@ of @-@ the @-@ art ( big ) \" fish \" , it 's 1 @.@ 5 ; the boys ' house ."
    assert plain(text) == "a state-of-the-art (big) \"fish\", it's 1.5; the boys' house ."
    assert plain(" = = Career = = \n \n one . two \n") == " == Career ==\n\none. two\n"


def test_published_rows_are_the_raw_file_again(tmp_path):
    (tmp_path / "wiki.test.raw").write_text(RAW, encoding="utf-8")
    rows = [row if row.strip() else "" for row in RAW.splitlines(keepends=True)]
    parquet.write_table(pa.table({"text": rows}), tmp_path / "test.parquet")
    lines = "".join(json.dumps({"text": row}) + "\n" for row in rows)
    (tmp_path / "test.jsonl").write_text(lines, encoding="utf-8")
    for name in ("wiki.test.raw", "test.parquet", "test.jsonl"):
        assert wikitext(tmp_path / name) == RAW
    (tmp_path / "bad.jsonl").write_text('{"text": "a"}\n{"page": "b"}\n', encoding="utf-8")
    with pytest.raises(DataError, match="line 2: no text"):
        wikitext(tmp_path / "bad.jsonl")


def test_word_perplexity_equals_its_definition():
    torch.manual_seed(1)
    model = GPT2(GPT2Config(256, 17, 1, 3, 21)).eval()
    tokenizer = ByteTokenizer()
    total = words = 0
    for article in articles(RAW):
        ids = [*b"\n", *plain(article).encode()]  # a byte model has no end-of-text token
        for start in range(0, len(ids) - 1, 17):
            window = torch.tensor(ids[start : start + 18])
            logits = model(window[None, :-1])[0]
            total += F.cross_entropy(logits, window[1:], reduction="sum").item()
        words += len(re.split(r"\s+", article))
    found = word_perplexity(model, tokenizer, RAW, 17)
    assert found == (pytest.approx(math.exp(total / words), rel=1e-5), words)
