"""HellaSwag scored with shared contexts, and as four full texts a question, in seconds.

    python benchmarks/hellaswag.py hellaswag_val.jsonl [ITEMS] [REPEATS]

GPT-2 124M with random weights, items drawn evenly over the set. "Shared" is what `minigpt2 eval`
does; "apart" are the same functions with one ending a request; "plain" is the usual program: full
texts, padded to the longest of a batch, logits everywhere. All three must agree.
"""

import statistics
import sys
import time
from pathlib import Path

import torch

from minigpt2 import gpt2_tokenizer
from minigpt2.evaluation import Request, likelihoods
from minigpt2.evaluation.tasks import as_request, hellaswag_items
from minigpt2.model import GPT2, GPT2Config

TOKENS_AT_ONCE = 2048  # of a batch, as in minigpt2.evaluation.scoring


def shared(model, requests):
    found = likelihoods(model, requests)
    return [likelihood.logprob for endings in found for likelihood in endings]


def apart(model, requests):
    return shared(model, [Request(r.context, [ending]) for r in requests for ending in r.endings])


def plain(model, requests):
    texts = [(r.context, ending) for r in requests for ending in r.endings]
    order = sorted(range(len(texts)), key=lambda i: len(texts[i][0]) + len(texts[i][1]))
    found, batch = [0.0] * len(texts), []
    for place, number in enumerate(order):
        batch.append(number)
        following = order[place + 1] if place + 1 < len(order) else None
        longest = sum(map(len, texts[following])) if following is not None else 0
        if following is None or (len(batch) + 1) * longest > TOKENS_AT_ONCE:
            score_plainly(model, [texts[i] for i in batch], batch, found)
            batch = []
    return found


def score_plainly(model, texts, numbers, found):
    rows = [torch.tensor([*context, *ending]) for context, ending in texts]
    tokens = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    with torch.inference_mode():
        logprobs = model(tokens[:, :-1]).log_softmax(-1)
    for row, (context, ending) in enumerate(texts):
        places = slice(len(context) - 1, len(context) + len(ending) - 1)
        taken = logprobs[row, places].gather(1, torch.tensor(ending)[:, None])
        found[numbers[row]] = taken.sum().item()


def main():
    path, count, repeats = Path(sys.argv[1]), *map(int, [*sys.argv[2:], "60", "5"][:2])
    torch.manual_seed(0)
    model, tokenizer = GPT2(GPT2Config(50257)).eval(), gpt2_tokenizer()
    items = list(hellaswag_items(path))
    items = items[:: max(1, len(items) // count)][:count]
    requests = [as_request(tokenizer, item) for item in items]
    ways = (shared, apart, plain)
    seconds = {way: [] for way in ways}
    for _ in range(repeats):
        results = []
        for way in ways:
            start = time.perf_counter()
            results.append(way(model, requests))
            seconds[way].append(time.perf_counter() - start)
        worst = max(abs(a - b) for other in results[1:] for a, b in zip(results[0], other))  # noqa: B905
        assert worst < 1e-3, worst
    contexts = sum(len(request.context) for request in requests)
    endings = sum(len(ending) for request in requests for ending in request.endings)
    print(f"{len(items)} items, {torch.get_num_threads()} threads; tokens a context "
          f"{contexts / len(items):.1f}, an ending {endings / len(items) / 4:.1f}")  # fmt: skip
    for way in ways:
        ratios = [taken / best for taken, best in zip(seconds[way], seconds[shared], strict=True)]
        middle, least, most = (f(seconds[way]) for f in (statistics.median, min, max))
        print(f"{way.__name__}: {middle:.1f} s, {least:.1f} to {most:.1f}; "
              f"{statistics.median(ratios):.2f} times shared")  # fmt: skip


if __name__ == "__main__":
    main()
