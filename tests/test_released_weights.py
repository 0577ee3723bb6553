"""Known answers of OpenAI's own weights: `pytest -m released_weights`.

They run where the weights are: in the Hugging Face cache, or in folders gpt2, gpt2-medium, ...
under the folder that MINIGPT2_RELEASED names. Nothing is downloaded.
"""

import os
from pathlib import Path

import pytest
import torch
from tests.generation.test_engine import written

from minigpt2 import evaluate, from_pretrained, gpt2_tokenizer, prepare
from minigpt2.evaluation.tasks import ask, hellaswag_items, lambada_items, wikitext, word_perplexity
from minigpt2.generation import Sampling
from minigpt2.interop.opening import RELEASED

pytestmark = pytest.mark.released_weights

# Read when this module is imported: the tests themselves have a home of their own.
FOLDER = os.environ.get("MINIGPT2_RELEASED")
SETS = {name: os.environ.get(f"MINIGPT2_{name}") for name in ("LAMBADA", "WIKITEXT2", "HELLASWAG")}


def cached(name: str) -> Path | None:
    """Return where a released model lies on this machine, if it does."""
    if FOLDER is not None:
        return Path(FOLDER) / name if (Path(FOLDER) / name / "config.json").exists() else None
    try:
        from huggingface_hub import snapshot_download

        for repository in (RELEASED[name], name):
            folder = Path(snapshot_download(repository, local_files_only=True))
            if (folder / "model.safetensors").exists():
                return folder
    except Exception:  # the library's own kinds are many
        return None
    return None


PLACES = {name: cached(name) for name in ("gpt2", "gpt2-medium", "gpt2-large", "gpt2-xl")}
SIZES = {
    "gpt2": (12, 12, 768),
    "gpt2-medium": (24, 16, 1024),
    "gpt2-large": (36, 20, 1280),
    "gpt2-xl": (48, 25, 1600),
}


def opened(name):
    if PLACES[name] is None:
        pytest.skip(f"{name} is neither in the cache nor under MINIGPT2_RELEASED")
    return from_pretrained(PLACES[name])


@pytest.mark.parametrize("name", SIZES)
def test_each_size_opens_with_its_tokenizer(name):
    model, tokenizer = opened(name)
    c = model.config
    assert (c.n_layer, c.n_head, c.n_embd) == SIZES[name]
    assert (c.block_size, c.vocab_size) == (1024, 50257)
    assert tokenizer.encode("Hello world") == [15496, 995] and tokenizer.eos_id == 50256


def test_the_greedy_continuation_is_known():
    model, _ = opened("gpt2")
    known = [373, 1043, 287, 257, 2214, 1474, 262, 16246, 286, 2688, 290, 2688, 27262, 13, 198,
             198, 464, 3290]  # fmt: skip
    assert written(model, [464, 3290], Sampling(18, 0.0)) == known


@pytest.mark.parametrize(
    ("ids", "known"),
    [
        ([6601, 32704, 795, 30132, 2985, 284],
         {38350: -135.9132, 2251: -136.6836, 766: -137.1203, 787: -137.6474, 3538: -137.6665}),
        ([8001, 9542, 9345, 318, 25449, 262],
         {835: -100.8785, 995: -101.0488, 3160: -103.3489, 2214: -103.8550, 2003: -103.9535}),
        ([1722, 262, 40663, 373, 13885, 262],
         {5440: -92.8636, 4417: -94.1827, 4429: -94.4171, 8824: -94.4567, 3668: -94.4695}),
    ],
)  # fmt: skip
def test_the_five_likeliest_next_tokens_are_known(ids, known):
    model, _ = opened("gpt2")
    top = model(torch.tensor([ids]))[0, -1].topk(5)
    assert top.indices.tolist() == list(known)
    assert top.values.tolist() == pytest.approx(list(known.values()), abs=2e-2)


def test_lambada_is_known():
    result = asked("LAMBADA", lambada_items)
    assert result.items == 5153 and result.left_out == 0
    assert result.accuracy.value == pytest.approx(0.3256, abs=5e-4)
    assert result.perplexity == pytest.approx(40.06, rel=2e-3)


@pytest.mark.parametrize(
    ("style", "by_sum", "by_mean"),
    [("harness", 0.2892, 0.3114), ("completion", 0.2859, 0.2955)],
)
def test_hellaswag_is_known(style, by_sum, by_mean):
    result = asked("HELLASWAG", lambda path: hellaswag_items(path, style))
    assert result.accuracy.value == pytest.approx(by_sum, abs=1e-3)
    assert result.accuracy_normed.value == pytest.approx(by_mean, abs=1e-3)


def test_wikitext_2_is_known(tmp_path):
    """The raw test text a token, in windows of 1024 without overlap, and a word by article."""
    path = given("WIKITEXT2")
    model, tokenizer = opened("gpt2")
    text = wikitext(path)
    (tmp_path / "text.txt").write_text(text, encoding="utf-8", newline="")
    data = prepare([str(tmp_path / "text.txt")], tmp_path / "data", tokenizer=gpt2_tokenizer())
    assert evaluate(model, data.all).perplexity == pytest.approx(29.94, rel=3e-3)
    found, _ = word_perplexity(model, tokenizer, text, 1024)
    assert found == pytest.approx(37.37, rel=5e-3)


def asked(name, read):
    path = given(name)
    model, tokenizer = opened("gpt2")
    return ask(model, tokenizer, read(path))


def given(name):
    if SETS[name] is None:
        pytest.skip(f"MINIGPT2_{name} names no file")
    return Path(SETS[name])
