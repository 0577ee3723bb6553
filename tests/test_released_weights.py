"""Known answers of OpenAI's own weights: `pytest -m released_weights`.

They run where the weights are: in the Hugging Face cache, or in folders gpt2, gpt2-medium, ...
under the folder that MINIGPT2_RELEASED names. Nothing is downloaded.
"""

import json
import math
import os
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from minigpt2 import from_pretrained, gpt2_tokenizer
from minigpt2.generation import Sampling, decode
from minigpt2.interop.hub import RELEASED

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


def lines(name):
    if SETS[name] is None:
        pytest.skip(f"MINIGPT2_{name} names no file")
    return Path(SETS[name]).read_text(encoding="utf-8")


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
    assert [step[0] for step in decode(model, [464, 3290], Sampling(18, 0.0))] == known


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


def scores(model, context, ending):
    """Return the log-probabilities of an ending's ids, and whether each is the likeliest."""
    ids = torch.tensor([(context + ending)[-1025:]])
    with torch.inference_mode():
        logits = model(ids[:, :-1])[0, -len(ending) :].log_softmax(-1)
    wanted = torch.tensor(ending)
    return logits.gather(1, wanted[:, None])[:, 0], logits.argmax(-1) == wanted


def test_lambada_is_known():
    """LAMBADA as OpenAI's file has it: the last word, given what stands before; {"text": ...}."""
    texts = [json.loads(line)["text"] for line in lines("LAMBADA").splitlines() if line]
    model, tokenizer = opened("gpt2")
    right, loss = 0, 0.0
    for text in texts:
        context, _, word = text.rpartition(" ")
        logprobs, likeliest = scores(model, tokenizer.encode(context), tokenizer.encode(" " + word))
        right += bool(likeliest.all())
        loss -= logprobs.sum().item()
    assert right / len(texts) == pytest.approx(0.3256, abs=5e-4)
    assert math.exp(loss / len(texts)) == pytest.approx(40.06, rel=2e-3)


def test_hellaswag_is_known():
    """HellaSwag's validation file, completion style: context and endings joined by a blank."""
    model, tokenizer = opened("gpt2")
    right = normed = count = 0
    for line in lines("HELLASWAG").splitlines():
        entry = json.loads(line)
        context, sums, means = tokenizer.encode(entry["ctx"]), [], []
        for ending in entry["endings"]:
            logprobs, _ = scores(model, context, tokenizer.encode(" " + ending))
            sums.append(logprobs.sum().item())
            means.append(logprobs.mean().item())
        right += sums.index(max(sums)) == entry["label"]
        normed += means.index(max(means)) == entry["label"]
        count += 1
    assert right / count == pytest.approx(0.2859, abs=1e-3)
    assert normed / count == pytest.approx(0.2955, abs=1e-3)


def test_wikitext_2_is_known():
    """WikiText-2's raw test text, per token, in windows of 1024 without overlap."""
    text = lines("WIKITEXT2")
    model, _ = opened("gpt2")
    ids = gpt2_tokenizer().encode(text)
    total = count = 0
    for start in range(0, len(ids) - 1, 1024):
        window = torch.tensor([ids[start : start + 1025]])
        with torch.inference_mode():
            logits = model(window[:, :-1])[0]
        total += F.cross_entropy(logits, window[0, 1:], reduction="sum").item()
        count += window.shape[1] - 1
    assert math.exp(total / count) == pytest.approx(29.94, rel=3e-3)
