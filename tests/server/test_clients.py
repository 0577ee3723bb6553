"""Programs that people point at such a server: simonw/llm, lm-evaluation-harness, schemathesis."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import yaml
from tests.evaluation.test_published_sets import hellaswag, lambada, sets  # noqa: F401 (fixtures)

from minigpt2 import from_pretrained, save_pretrained
from minigpt2.evaluation import likelihoods
from minigpt2.evaluation.tasks import as_request, ask, hellaswag_items, lambada_items
from minigpt2.interop.opening import PRETRAINED
from minigpt2.model import GPT2, GPT2Config
from minigpt2.tokenizers import ByteTokenizer

pytest.importorskip("lm_eval", reason='pip install -e ".[clients]"')
pytestmark = pytest.mark.slow
ITEMS, LONGEST = 200, 1000  # of a set; in characters, so that no window cuts an item


def program(*arguments, **environment):
    beside = Path(sys.executable).parent
    return subprocess.run(
        [str(beside / arguments[0]), *arguments[1:]], capture_output=True, text=True,
        env={**os.environ, "COLUMNS": "200", **environment}, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("name", ["fox", "words"])
def test_llm_completes_streams_and_logs(served, models, tmp_path, name):
    (tmp_path / "extra-openai-models.yaml").write_text(
        yaml.safe_dump(
            [{"model_id": "mine", "model_name": name, "api_base": f"{served.url}/v1",
              "completion": True}]
        ), encoding="utf-8",
    )  # fmt: skip
    line = ["llm", "-m", "mine", "the quick", "-o", "max_tokens", "9", "-o", "seed", "3"]
    streamed = program(*line, LLM_USER_PATH=str(tmp_path))
    whole = program(*line, "--no-stream", "-o", "logprobs", "2", LLM_USER_PATH=str(tmp_path))
    from tests.server.test_api import whole as ours

    wanted = ours(*models[name], "the quick", seed=3, max_new_tokens=9)
    assert streamed.returncode == whole.returncode == 0, streamed.stderr + whole.stderr
    assert streamed.stdout.rstrip("\n") == whole.stdout.rstrip("\n") == wanted.rstrip("\n")


def test_schemathesis_finds_no_fault_of_ours(served):
    checks = ["not_a_server_error", "status_code_conformance", "content_type_conformance",
              "response_schema_conformance", "response_headers_conformance"]  # fmt: skip
    result = program(
        "schemathesis", "run", f"{served.url}/openapi.json", "--max-examples", "100",
        "--checks", ",".join(checks), "--seed", "1", "--no-color",
    )  # fmt: skip
    assert result.returncode == 0, result.stdout[-4000:]
    assert "Tested: 11" in result.stdout
    assert served.idle(10)


@pytest.fixture(scope="module")
def long_models():
    """A byte and a BPE model of block 1024, as `lm-eval` needs for these sets."""
    found = {}
    for name, tokenizer in [
        ("bytes", ByteTokenizer(("<|endoftext|>",))), ("bpe", from_pretrained(PRETRAINED)[1]),
    ]:  # fmt: skip
        torch.manual_seed(5)
        model = GPT2(GPT2Config(tokenizer.vocab_size, 1024, 2, 3, 33)).eval()
        for parameter in model.parameters():
            parameter.data += 0.2 * torch.randn_like(parameter)
        found[name] = model, tokenizer
    return found


def short_items(items):
    fitting = (i for i in items if len((i.context + max(i.endings, key=len)).encode()) < LONGEST)
    return [item for _, item in zip(range(ITEMS), fitting, strict=False)]


TASKS = {
    "our_lambada": {
        "output_type": "loglikelihood",
        "metric_list": [{"metric": "perplexity", "aggregation": "perplexity"},
                        {"metric": "acc", "aggregation": "mean"}],
        "doc_to_choice": None, "doc_to_target": "{{ending}}",
    },
    "our_hellaswag": {
        "output_type": "multiple_choice",
        "metric_list": [{"metric": "acc", "aggregation": "mean"},
                        {"metric": "acc_norm", "aggregation": "mean"}],
        "doc_to_choice": "{{choices}}", "doc_to_target": "{{gold}}",
    },
}  # fmt: skip


def write_tasks(folder, sets_of_items):
    for name, items in sets_of_items.items():
        rows = [
            {"query": i.context, "ending": i.endings[0], "gold": i.label,
             "choices": [ending[1:] for ending in i.endings]}
            for i in items
        ]  # fmt: skip
        data = folder / f"{name}.json"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        single = name == "our_lambada"
        task = {
            "task": name, "dataset_path": "json", "test_split": "train",
            "dataset_kwargs": {"data_files": str(data)}, "doc_to_text": "{{query}}",
            "target_delimiter": "" if single else " ",
            **{key: value for key, value in TASKS[name].items() if value is not None},
        }  # fmt: skip
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(task), encoding="utf-8")


@pytest.mark.filterwarnings("ignore")  # of lm-eval and what it brings
@pytest.mark.parametrize("name", ["bytes", "bpe"])
def test_lm_eval_finds_what_eval_and_transformers_find(
    serving, long_models, lambada, hellaswag, tmp_path, monkeypatch, name  # noqa: F811
):  # fmt: skip
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    model, tokenizer = long_models[name]
    asked = {
        "our_lambada": short_items(lambada_items(lambada)),
        "our_hellaswag": short_items(hellaswag_items(hellaswag)),
    }
    assert [len(items) for items in asked.values()] == [ITEMS, ITEMS]
    write_tasks(tmp_path, asked)
    with serving({name: (model, tokenizer)}, slots=8) as running:
        told = simple_evaluate(
            model="local-completions",
            model_args={"base_url": f"{running.url}/v1/completions", "model": name,
                        "max_length": 1024, "num_concurrent": 4, "tokenizer_backend": "auto"},
            tasks=list(asked), task_manager=TaskManager(include_path=str(tmp_path)),
            batch_size=8, log_samples=True, bootstrap_iters=0,
        )  # fmt: skip
        assert running.idle()
    ours = {task: ask(model, tokenizer, iter(items)) for task, items in asked.items()}
    words, endings = told["results"]["our_lambada"], told["results"]["our_hellaswag"]
    assert words["acc,none"] == ours["our_lambada"].accuracy.value
    log_of = math.log(ours["our_lambada"].perplexity)
    assert math.log(words["perplexity,none"]) == pytest.approx(log_of, abs=1e-4)
    assert endings["acc,none"] == ours["our_hellaswag"].accuracy.value
    assert endings["acc_norm,none"] == ours["our_hellaswag"].accuracy_normed.value
    compare_each(told["samples"], asked, model, tokenizer, tmp_path)


def compare_each(samples, asked, model, tokenizer, folder):
    """Hold every single likelihood against our own, and against a loop of transformers."""
    from transformers import GPT2LMHeadModel

    save_pretrained(model, tokenizer, folder / "hf")
    theirs = GPT2LMHeadModel.from_pretrained(folder / "hf").eval()
    for task, items in asked.items():
        found = likelihoods(model, [as_request(tokenizer, item) for item in items])
        by_place = sorted(samples[task], key=lambda sample: sample["doc_id"])
        for item, own, sample in zip(items, found, by_place, strict=True):
            context = tokenizer.encode(item.context)
            for ending, one, [[logprob, greedy]] in zip(
                item.endings, own, sample["resps"], strict=True
            ):
                assert float(logprob) == pytest.approx(one.logprob, abs=1e-4)
                assert str(greedy) == str(one.greedy)
                ids = tokenizer.encode(ending)
                with torch.inference_mode():
                    logits = theirs(torch.tensor([context + ids[:-1]])).logits[0, -len(ids) :]
                each = logits.log_softmax(-1).gather(1, torch.tensor(ids)[:, None])
                assert float(logprob) == pytest.approx(each.double().sum().item(), abs=1e-4)
