"""What `/api/inspect` tells equals a plain forward of the model; and what it refuses, in words."""

import base64
import json
import threading
import urllib.error
import urllib.request
from typing import get_args

import numpy as np
import pytest
import torch
from tests.server.conftest import bpe_model, char_model, random_model

from minigpt2.model import GPT2, Bigram, BigramConfig, GPT2Config
from minigpt2.server.inspection import MOST_TOKENS
from minigpt2.server.schema import View
from minigpt2.tokenizers import ByteTokenizer, CharTokenizer, make_tokenizer

TEXT = "the fox. the fox jumps"


@pytest.fixture(scope="module")
def models():
    long = random_model(256, block_size=600)
    table = Bigram(BigramConfig(29))
    torch.nn.init.normal_(table.table)
    return {
        "fox": char_model(),
        "words": bpe_model(),
        "long": (long, ByteTokenizer()),
        "padded": (random_model(53), char_model()[1]),
        "table": (table, CharTokenizer(sorted("abcdefghijklmnopqrstuvwxyz \n."))),
    }


def ask(served, path, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(f"{served.url}{path}", data) as answer:
        return answer.read()


def unpacked(told):
    if isinstance(told, dict) and told.keys() == {"shape", "type", "data"}:
        values = np.frombuffer(base64.b64decode(told["data"]), f"<{told['type']}")
        return torch.from_numpy(values.copy()).reshape(told["shape"])
    return {k: unpacked(v) for k, v in told.items()} if isinstance(told, dict) else told


def look(served, view, prompt=TEXT, model="fox", **more):
    body = {"view": view, "prompt": prompt, "model": model, **more}
    return unpacked(json.loads(ask(served, "/api/inspect", body)))


def refused(served, view, status=400, **more):
    return error_of(served, view, status, **more)["message"]


def error_of(served, view, status=400, **more):
    with pytest.raises(urllib.error.HTTPError) as caught:
        look(served, view, **more)
    with caught.value as answer:
        assert answer.code == status
        return json.loads(answer.read())["error"]


def logprobs_of(models, name, text=TEXT):
    model, tokenizer = models[name]
    with torch.no_grad():
        return model(torch.tensor([tokenizer.encode(text)]))[0].log_softmax(-1)


@pytest.mark.parametrize("name", ["fox", "words", "table"])
def test_next_is_the_model_s_own_logits(served, models, name):
    told = look(served, "next", model=name)
    model, tokenizer = models[name]
    ids = tokenizer.encode(TEXT)
    assert told["tokens"]["ids"] == ids
    assert "".join(told["tokens"]["texts"]) == TEXT
    with torch.no_grad():
        logits = model(torch.tensor([ids]))[0, -1]
    assert torch.allclose(told["logits"], logits[: tokenizer.vocab_size], atol=1e-5)
    order = told["likeliest"]["ids"]
    assert len(order) == min(200, tokenizer.vocab_size)
    assert told["logits"][order].diff().max() <= 0
    assert told["likeliest"]["texts"][0] == tokenizer.decode([order[0]])


def test_attention_is_shown_small_and_whole(served, models):
    small = look(served, "attention", prompt="the fox the fox " * 2)
    assert small["thumbnails"].shape == (2, 3, 32, 32)
    one = look(served, "attention", prompt="the fox the fox " * 2, layer=1, head=2)["pattern"]
    assert torch.allclose(one.sum(-1), torch.ones(32), atol=1e-5) and one.triu(1).max() == 0
    assert torch.equal((255 * one).round().to(torch.uint8), small["thumbnails"][1, 2])
    assert small["previous"][1, 2] == pytest.approx(one.diagonal(-1).mean().item(), abs=1e-6)
    assert small["first"][1, 2] == pytest.approx(one[1:, 0].mean().item(), abs=1e-6)
    assert look(served, "attention", prompt="abc")["induction"].isnan().all()


def test_a_long_text_s_thumbnails_keep_every_peak(served):
    told = look(served, "attention", model="long", prompt="ab" * 100)
    assert told["thumbnails"].shape == (2, 3, 32, 32)
    whole = look(served, "attention", model="long", prompt="ab" * 100, layer=0, head=0)["pattern"]
    assert told["thumbnails"][0, 0].max() == round(255 * whole.max().item())


def test_the_lens_ends_at_the_model_and_tells_a_token_s_path(served, models):
    told = look(served, "lens", position=3, token="x")
    ends = logprobs_of(models, "fox").exp()
    assert told["ids"].shape == (3, 22, 5) and told["kl"][-1].abs().max() < 1e-5
    assert torch.equal(told["ids"][-1].long(), ends.topk(5).indices)
    assert torch.allclose(told["probabilities"][-1], ends.topk(5).values, atol=1e-5)
    token = models["fox"][1].encode("x")[0]
    assert told["path"]["token"] == {"id": token, "text": "x"}
    assert told["path"]["ranks"][-1] == 1 + (ends[3] > ends[3, token]).sum()
    assert told["path"]["probabilities"][-1].item() == pytest.approx(
        ends[3, token].item(), abs=1e-6
    )
    assert {str(i) for i in told["ids"].flatten().tolist()} == told["texts"].keys()


def test_contributions_sum_to_the_difference(served, models):
    told = look(served, "contributions", position=9, a="e", b="z")
    ends = logprobs_of(models, "fox")[9]
    a, b = (models["fox"][1].encode(x)[0] for x in "ez")
    assert told["difference"] == pytest.approx(float(ends[a] - ends[b]), abs=1e-5)
    assert told["total"] == pytest.approx(told["difference"], abs=1e-4)
    assert sum(part["value"] for part in told["parts"]) == pytest.approx(told["total"])
    likeliest = look(served, "contributions")
    assert likeliest["a"]["id"] == logprobs_of(models, "fox")[-1].argmax()
    assert likeliest["difference"] > 0 and likeliest["position"] == 21


def test_ablation_tells_what_a_manual_forward_without_the_head_says(served, models):
    model, tokenizer = models["fox"]
    told = look(served, "ablate", parts=["L1H0"])
    before = logprobs_of(models, "fox")
    weight = model.h[1].attn.c_proj.weight
    kept = weight.detach().clone()
    weight.data[:, :7] = 0  # nothing reads head 0 any more
    try:
        after = logprobs_of(models, "fox")
    finally:
        weight.data[:] = kept
    own = torch.tensor(tokenizer.encode(TEXT))[1:, None]
    for row, here, loss in zip(told["logprobs"], (before, after), told["losses"], strict=True):
        assert torch.allclose(row, here[:-1].gather(1, own)[:, 0], atol=1e-5)
        assert loss == pytest.approx(-row.mean().item(), abs=1e-5)
    kl = (before.exp() * (before - after)).sum(-1)
    assert torch.allclose(told["kl"], kl, atol=1e-5)
    ids = told["likeliest"]["ids"]
    assert torch.allclose(torch.tensor(told["likeliest"]["after"]), after[-1, ids].exp(), atol=1e-5)
    nothing = look(served, "ablate")
    assert nothing["losses"][0] == nothing["losses"][1] and nothing["kl"].abs().max() == 0


def test_a_single_token_has_no_loss(served):
    assert look(served, "ablate", prompt="a")["losses"] == [None, None]


def test_walk_tells_the_vectors_of_one_token(served, models):
    told = look(served, "walk", position=5, layer=1, head=2)
    v = told["vectors"]
    add = torch.testing.assert_close
    add(v["resid_mid"], v["resid_pre"] + v["attn_out"])
    add(v["resid_post"], v["resid_mid"] + v["mlp_out"])
    add(v["scores"], v["keys"] @ v["q"] / 7**0.5)
    add(v["pattern"], v["scores"].softmax(-1))
    add(v["z"], v["pattern"] @ v["values"])
    add((v["k"], v["v"]), (v["keys"][-1], v["values"][-1]))
    model = models["fox"][0]
    add(v["result"], (model.h[1].attn.c_proj.weight[:, 14:] @ v["z"]).detach())
    add(v["ln1"], model.h[1].ln_1(v["resid_pre"]).detach())
    assert told["next"]["ids"][0] == logprobs_of(models, "fox")[5].argmax()
    first = look(served, "walk", position=5, layer=0)["vectors"]
    add(first["resid_pre"], first["embed"] + first["pos_embed"])


def test_no_view_is_larger_than_two_megabytes(serving):
    torch.manual_seed(1)
    wide = GPT2(GPT2Config(50257, 1024, n_layer=3, n_head=12, n_embd=768)).eval()
    with serving({"wide": (wide, make_tokenizer("gpt2", []))}) as served:
        text = " the" * MOST_TOKENS
        for view in get_args(View):
            body = {"view": view, "prompt": text, "position": 511, "layer": 2, "head": 11}
            assert len(ask(served, "/api/inspect", body)) < 2_000_000, view
        body = {"view": "attention", "prompt": text}
        assert len(ask(served, "/api/inspect", body)) < 2_000_000


def test_what_cannot_be_looked_at_is_refused_in_words(served):
    assert "38 tokens are too many" in refused(served, "next", prompt="a" * 38)
    said = refused(served, "attention", model="long", prompt="a" * 513)
    assert said == "513 tokens are too many to look into at once; at most 512"
    assert "'§' (U+00A7)" in refused(served, "next", prompt="§")
    assert "layer: 2 is beyond the last, 1" in refused(served, "attention", layer=2)
    assert "head: 3 is beyond" in refused(served, "walk", head=3)
    assert "position: 22 is beyond" in refused(served, "lens", position=22, token="a")
    assert "'ab' is 2 tokens" in refused(served, "lens", token="ab")
    assert "a: there is no token 29" in refused(served, "contributions", a=29)
    assert "b: character 'B'" in refused(served, "contributions", b="B")
    assert "'L9' is no part of this model" in refused(served, "ablate", parts=["L9"])
    assert "view: Invalid enum value" in refused(served, "nothing")
    assert "replace" in refused(served, "ablate", replace="noise")
    assert refused(served, "next", status=404, model="fox@7").endswith(
        "there is: fox, words, long, padded, table"
    )
    refused(served, "next", status=404, model="fox@" + "9" * 30)


@pytest.mark.parametrize(("view", "wrong"), [
    ("ablate", {"parts": ["L9"]}), ("ablate", {"parts": "L0"}), ("ablate", {"replace": "noise"}),
    ("attention", {"layer": 2}), ("contributions", {"b": 29}), ("lens", {"token": "ab"}),
])  # fmt: skip
def test_an_error_names_the_field_that_is_wrong(served, view, wrong):
    assert [error_of(served, view, **wrong)["param"]] == list(wrong)


def test_null_means_the_default(served):
    default = look(served, "ablate")
    told = look(served, "ablate", parts=None, replace=None)
    assert told["losses"] == default["losses"] and torch.equal(told["kl"], default["kl"])
    zero, null = (look(served, "ablate", parts=["L0"], replace=r) for r in ("zero", None))
    assert zero["losses"] == null["losses"]


@pytest.mark.parametrize("view", sorted(set(get_args(View)) - {"next"}))
def test_a_bigram_has_no_inside(served, view):
    assert "a bigram has no layers" in refused(served, view, model="table", layer=0)


def test_an_empty_text_begins_as_generation_does(served):
    told = look(served, "next", prompt="")
    assert told["tokens"]["texts"] == ["\n"]


def test_looking_and_writing_do_not_disturb_each_other(served):
    """The hooks of a look are on for one call of the model's thread, and nobody else's."""

    def write():
        body = {"model": "fox", "prompt": "the", "max_tokens": 25, "temperature": 0}
        return json.loads(ask(served, "/v1/completions", body))["choices"][0]["text"]

    alone, alone_seen = write(), look(served, "walk")["vectors"]["resid_post"]
    seen, texts = [], []
    writers = [threading.Thread(target=lambda: texts.append(write())) for _ in range(6)]
    lookers = [
        threading.Thread(target=lambda: seen.append(look(served, "walk")["vectors"]["resid_post"]))
        for _ in range(6)
    ]
    for thread in (each for pair in zip(writers, lookers, strict=True) for each in pair):
        thread.start()
    for thread in writers + lookers:
        thread.join()
    assert set(texts) == {alone} and len(texts) == 6
    assert len(seen) == 6 and all(torch.equal(x, alone_seen) for x in seen)
    assert served.idle()


@pytest.mark.parametrize("view", ["next", "attention", "lens", "contributions", "ablate", "walk"])
def test_a_padded_vocabulary_s_ids_are_never_told(served, view):
    told = look(served, view, model="padded", token="a")
    named = told.get("likeliest", told.get("next", {})).get("ids", [0])
    assert max(named) < 29
    if view == "lens":
        assert told["ids"].max() < 29
