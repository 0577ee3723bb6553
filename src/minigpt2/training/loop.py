"""The one trainer: a generator of events over a state, from any start to the last step.

It renders nothing, reads no signals and asks nobody anything: the faces do. The batch, the
dropout masks and the learning rate of a step are functions of the step's number, so continuing a
run equals never having stopped it, bit for bit on a CPU under the same plan.
"""

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from minigpt2.config import Config
from minigpt2.data.batches import IGNORED, mix, restart_at
from minigpt2.errors import MiniGPT2Error, is_out_of_memory
from minigpt2.evaluation import evaluation_windows, mean_loss
from minigpt2.generation import Sampling, generate
from minigpt2.model import LanguageModel
from minigpt2.tokenizers import NEXT_TURN, TRANSCRIPT, Tokenizer
from minigpt2.training import memory
from minigpt2.training.begin import BatchSource, Job, begin
from minigpt2.training.events import Evaluated, Event, Finished, Sampled, Saved, Started, Step
from minigpt2.training.optimizers import learning_rate, optimizer_tensors
from minigpt2.training.plan import Plan
from minigpt2.training.start import shape_of

Track = Callable[[dict[str, Any]], None]
SAMPLE_TOKENS = 500
_SMALLER_RATE = "Begin a new run with a smaller --training.learning-rate"


def train(
    config: Config,
    *,
    model: LanguageModel | None = None,
    tokenizer: Tokenizer | None = None,
    batches: BatchSource | None = None,
    resume: Literal["auto", "never"] = "auto",
    stop: Callable[[], bool] = lambda: False,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Event]:
    """Train as `config` says, yielding an event for everything that happens.

    `model`, `tokenizer` and `batches` replace what the configuration would build. `stop` is asked
    after every step; when it says so, the step is saved and the run ends, to be resumed later.
    `say` takes lines for a person: repairs, skipped checkpoints, a changed machine.
    """
    job = begin(config, (model, tokenizer), batches, resume == "auto", say)
    counters = job.counters
    started = time.perf_counter() - counters.seconds
    every = list(job.model.parameters())
    sizes = (sum(p.numel() for p in every), sum(p.numel() for p in every if p.requires_grad))
    start = (job.run.path, job.plan, counters.step, job.total_steps)
    yield Started(*start, *sizes, job.memory, job.data)
    reason = "already" if job.finished() else "complete"
    with tracking(job.run.path / "tensorboard", counters.step) as track:
        if counters.step == 0 and is_kept(0, job.config.logging.keep_history):
            job.run.keep(job.model, job.tokenizer, 0)
        if job.config.model.init and counters.step == 0:
            evaluated = _evaluate(job)
            _log(job, track, None, evaluated)
            yield evaluated
        while not job.finished():
            step = train_step(job)
            counters.seconds = time.perf_counter() - started
            yield step
            stopping = stop()
            yield from _milestones(job, step, track, stopping)
            if stopping and not job.finished():
                reason = "interrupted"
                break
    if reason == "complete" and counters.step < job.total_steps:
        reason = "patience"
    seconds = counters.seconds if reason == "already" else time.perf_counter() - started
    best = (counters.best_step, counters.best_loss)
    yield Finished(reason, counters.step, job.run.path, *best, job.bigram_loss, seconds)


def train_step(job: Job) -> Step:
    """Take one optimizer step: batch, forward and backward, clip, update."""
    began, counters, training = time.perf_counter(), job.counters, job.config.training
    tokens, targets = job.batches.batch(counters.step)
    rate = learning_rate(counters.step, job.total_steps, training)
    torch.manual_seed(mix(mix(training.seed) ^ counters.step))  # dropout, as a function of the step
    loss = _accumulate_or_advise(job, tokens, targets)
    grad_norm = clip_gradients(job.model, training.grad_clip)
    if not (math.isfinite(loss) and math.isfinite(grad_norm)):
        raise MiniGPT2Error(
            f"step {counters.step + 1}: loss {loss}, gradient norm {grad_norm}; the step is not "
            f"taken. {_SMALLER_RATE}"
        )
    for group in job.optimizer.param_groups:
        group["lr"] = rate
    job.optimizer.step()
    job.optimizer.zero_grad()
    counters.step += 1
    learnt = int((targets != IGNORED).sum())
    counters.tokens += learnt
    speed = learnt / (time.perf_counter() - began)
    return Step(counters.step, job.total_steps, loss, rate, grad_norm, speed)


def _accumulate_or_advise(job: Job, tokens: Tensor, targets: Tensor) -> float:
    """Add the gradients; where memory runs out, say by which change it would do."""
    try:
        return accumulate(job.model, tokens, targets, job.plan, job.separator)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        detail = next(iter(str(error).splitlines()), type(error).__name__)
    # Out of the except clause: what the failed step held is free again.
    room = min(job.memory.room or job.memory.step, job.memory.step * 4 // 5)
    shape = shape_of(job.config, job.model.config.vocab_size)
    hint = memory.cheapest_fit(job.config, job.plan, shape, room)
    raise MiniGPT2Error(f"out of memory at step {job.counters.step + 1}; {hint} ({detail[:150]})")


def accumulate(
    model: nn.Module, tokens: Tensor, targets: Tensor, plan: Plan, separator: int | None = None
) -> float:
    """Add the gradients of the mean loss over all targets, one micro-batch at a time.

    Each micro-batch counts by its share of the targets, so that any split gives the same step. A
    `separator` keeps the documents of a row from seeing one another.
    """
    model.train()
    total = max(1, int((targets != IGNORED).sum()))
    loss = torch.zeros((), device=plan.device)
    parts = (every.split(plan.micro_batch_size) for every in (tokens, targets))
    for micro_tokens, micro_targets in zip(*parts, strict=True):
        share = int((micro_targets != IGNORED).sum()) / total
        if share:
            micro_tokens = micro_tokens.to(plan.device)
            borders = {} if separator is None else restart_at(micro_tokens, separator)
            with plan.autocast():
                part = model(micro_tokens, micro_targets.to(plan.device), **borders) * share
            part.backward()
            loss += part.detach()
    return loss.item()


def clip_gradients(model: nn.Module, limit: float) -> float:
    """Scale the gradients down to global norm `limit` (0: leave them); return the norm before."""
    return torch.nn.utils.clip_grad_norm_(model.parameters(), limit or math.inf).item()


def _milestones(job: Job, step: Step, track: Track, stopping: bool) -> Iterator[Event]:
    """Do what is due after a step: evaluate, log, sample, save."""
    logging = job.config.logging

    def due(interval: int | None) -> bool:
        return step.step % (interval or 1) == 0 or step.step == job.total_steps

    evaluated = _evaluate(job) if due(job.config.training.eval_interval) else None
    if evaluated or due(logging.log_interval):
        _log(job, track, step, evaluated)
    if evaluated:
        yield evaluated
    if logging.sample_interval is not None and due(logging.sample_interval):
        stop = (NEXT_TURN,) if job.tokenizer.chat_template == TRANSCRIPT else ()
        sampling = Sampling(SAMPLE_TOKENS, stop=stop, seed=job.config.training.seed)
        question = job.question
        text = question + "".join(generate(job.model, job.tokenizer, question, sampling))
        job.run.log_sample(step.step, text)
        yield Sampled(step.step, text)
    if is_kept(step.step, logging.keep_history):
        job.run.keep(job.model, job.tokenizer, step.step)
    better = evaluated and evaluated.is_best
    if better or due(logging.save_interval) or job.finished() or stopping:
        progress = (asdict(job.counters), optimizer_tensors(job.optimizer, job.model))
        folder = job.run.save(job.model, job.tokenizer, progress, logging.keep_last)
        yield Saved(step.step, folder)


def is_kept(step: int, per_doubling: int) -> bool:
    """Say whether the weights of a step belong to the history: evenly spread over log(step).

    >>> [step for step in range(1, 20) if is_kept(step, 2)]
    [1, 2, 3, 4, 6, 8, 11, 16]
    """
    if not per_doubling or step == 0:
        return bool(per_doubling)  # step 0 is what training began from
    nearest = round(per_doubling * math.log2(step))
    return any(round(2 ** (k / per_doubling)) == step for k in (nearest - 1, nearest, nearest + 1))


def _evaluate(job: Job) -> Evaluated:
    """Measure the whole validation split, and as much of training; remember the best.

    Of a model that is trained further the first is measured too, as step 0, and never the best:
    there is no checkpoint of it.
    """
    config, train, val = job.config, job.data.train, job.data.val
    model, separator, counters = job.model, job.separator, job.counters
    train_cut, val_cut = evaluation_windows(train, val, config.sequence_length, config.by_document)
    val_loss = mean_loss(model, val.read, val_cut, separator)
    train_loss = mean_loss(model, train.read, train_cut, separator)
    step, best = counters.step, counters.best_loss
    if step and not math.isfinite(val_loss):
        raise MiniGPT2Error(f"step {step}: the validation loss is {val_loss}. {_SMALLER_RATE}")
    is_best = step > 0 and (best is None or val_loss < best)
    if is_best:
        counters.best_loss, counters.best_step = val_loss, step
        counters.evaluations_without_better = 0
    elif step:
        counters.evaluations_without_better += 1
    return Evaluated(step, val_loss, train_loss, is_best)


def _log(job: Job, track: Track, step: Step | None, evaluated: Evaluated | None) -> None:
    """Write one line of metrics: what the step gave, and what was measured after it."""
    counters = job.counters
    entry: dict[str, Any] = {"step": counters.step, "tokens": counters.tokens}
    entry["seconds"] = round(counters.seconds, 3)
    if step:
        entry |= {"train_loss": step.loss, "learning_rate": step.learning_rate}
        entry |= {"grad_norm": step.grad_norm}
        entry |= {"tokens_per_second": round(step.tokens_per_second, 1)}
    if evaluated:
        entry |= {"val_loss": evaluated.val_loss, "train_eval_loss": evaluated.train_eval_loss}
    job.run.log(entry)
    track(entry)


@contextlib.contextmanager
def tracking(folder: Path, step: int) -> Iterator[Track]:
    """Yield what writes a line of metrics as TensorBoard events, where `minigpt2[track]` is."""
    if not find_spec("tensorboard"):
        yield lambda entry: None
        return
    from torch.utils.tensorboard import SummaryWriter

    def track(entry: dict[str, Any]) -> None:
        for name, value in entry.items():
            if name != "step":
                writer.add_scalar(name, value, entry["step"])

    # Points after `purge_step` of a run that died are hidden, as metrics.jsonl cuts them.
    with SummaryWriter(str(folder), purge_step=step + 1) as writer:
        yield track
