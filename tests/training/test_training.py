"""One trainer: golden numbers, accumulation, exact resume, true best, and what stops it."""

import json
import math
import os

import pytest
import torch

from minigpt2 import from_pretrained, resolve, train
from minigpt2.checkpoints import RunDirectory
from minigpt2.config import TrainingSection
from minigpt2.errors import ConfigError, DataError, MiniGPT2Error, UnavailableError, UsageError
from minigpt2.model import GPT2, Block, GPT2Config
from minigpt2.reports import draw_curves
from minigpt2.training import (
    Evaluated,
    Finished,
    Sampled,
    Saved,
    Started,
    Step,
    loop,
    make_plan,
    plan,
)
from minigpt2.training.loop import accumulate, clip_gradients
from minigpt2.training.optimizers import build_optimizer, decay_groups, learning_rate

SHAPE = {"model.n_layer": 2, "model.n_head": 3, "model.n_embd": 21, "model.block_size": 13}
SHORT = {
    **SHAPE,
    "training.batch_size": 5,
    "training.max_steps": 12,
    "training.warmup_steps": 3,
    "training.eval_interval": 4,
    "training.dtype": "float32",
    "training.attention": "explicit",
    "logging.log_interval": 1,
    "logging.save_interval": 3,
    "logging.sample_interval": 100,
}


def config_for(text_file, out, **more):
    flags = {**SHORT, "data.input_file": str(text_file), "logging.model_save_path": str(out)}
    return resolve(environment={}, flags=flags | more).config


def losses(run_dir):
    log = RunDirectory(run_dir).read_log()
    kinds = ("step", "tokens", "train_loss", "grad_norm", "val_loss", "train_eval_loss")
    return [{key: entry[key] for key in kinds if key in entry} for entry in log]


def of(events, kind):
    return [event for event in events if isinstance(event, kind)]


def test_a_run_yields_its_events_and_leaves_its_files(text_file, tmp_path):
    out = tmp_path / "run"
    events = list(train(config_for(text_file, out)))
    assert isinstance(events[0], Started) and isinstance(events[-1], Finished)
    assert [event.step for event in of(events, Step)] == list(range(1, 13))
    assert [event.step for event in of(events, Evaluated)] == [4, 8, 12]
    assert [event.step for event in of(events, Sampled)] == [12]
    assert {event.step for event in of(events, Saved)} >= {3, 6, 9, 12}
    assert events[-1].reason == "complete"
    present = {path.name for path in out.iterdir()}
    assert {"config.yaml", "run.json", "metrics.jsonl", "samples.txt", "data", "latest"} <= present
    entry = RunDirectory(out).read_log()[3]
    assert {"step", "tokens", "seconds", "train_loss", "learning_rate", "grad_norm",
            "tokens_per_second", "val_loss", "train_eval_loss"} == entry.keys()  # fmt: skip


def test_training_learns(text_file, tmp_path):
    more = {"training.max_steps": 60, "training.learning_rate": 1e-2}
    events = list(train(config_for(text_file, tmp_path / "run", **more)))
    steps = of(events, Step)
    assert steps[0].loss == pytest.approx(math.log(29), abs=0.1)
    assert steps[-1].loss < 1.9
    [best] = [e for e in of(events, Evaluated) if e.step == events[-1].best_step]
    assert best.val_loss == events[-1].best_loss


def test_one_golden_step(text_file, tmp_path):
    """One AdamW step pinned. These numbers change only with a change of the mathematics or of
    the order of batches, which CHANGELOG.md must then name."""
    event = of(train(config_for(text_file, tmp_path / "run", **{"training.max_steps": 2})), Step)
    assert event[0].loss == pytest.approx(GOLDEN[0][0], abs=1e-5)
    assert event[0].grad_norm == pytest.approx(GOLDEN[0][1], abs=1e-4)
    assert event[1].loss == pytest.approx(GOLDEN[1][0], abs=1e-5)
    assert event[1].grad_norm == pytest.approx(GOLDEN[1][1], abs=1e-4)
    model, _ = from_pretrained(tmp_path / "run")
    assert model.wte.weight.double().sum().item() == pytest.approx(GOLDEN[2], abs=1e-4)


GOLDEN = ((3.376348, 1.987658), (3.394257, 1.928674), 0.778895)


@pytest.mark.parametrize("optimizer", ["adamw", "adam"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_resume_is_bit_exact(text_file, tmp_path, optimizer, dtype):
    more = {
        "model.dropout": 0.3,
        "training.optimizer": optimizer,
        "training.dtype": dtype,
        "training.micro_batch_size": 2,
        "training.schedule": "wsd",
    }
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    list(train(config_for(text_file, whole, **more)))
    done = 0
    for stop_at in (3, 5, 8):  # at a save, between saves, at an evaluation
        count = iter(range(done + 1, 100))
        stop = lambda stop_at=stop_at, count=count: next(count) >= stop_at  # noqa: E731
        end = list(train(config_for(text_file, broken, **more), stop=stop))[-1]
        assert (end.reason, end.step) == ("interrupted", stop_at)
        done = stop_at
    assert list(train(config_for(text_file, broken, **more)))[-1].reason == "complete"
    assert losses(broken) == losses(whole)
    for (name, a), (_, b) in zip(
        from_pretrained(whole)[0].named_parameters(),
        from_pretrained(broken)[0].named_parameters(),
        strict=True,
    ):
        assert torch.equal(a, b), name


def test_resume_from_before_a_torn_end_repeats_nothing(text_file, tmp_path):
    """The process died after logging steps that no checkpoint holds."""
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    more = {"model.dropout": 0.3}
    list(train(config_for(text_file, whole, **more)))
    events = train(config_for(text_file, broken, **more))
    for event in events:
        if isinstance(event, Step) and event.step == 11:
            events.close()
            break
    with (broken / "metrics.jsonl").open("a") as file:
        file.write('{"step": 11, "tok')
    list(train(config_for(text_file, broken, **more)))
    assert losses(broken) == losses(whole)


def test_dropout_differs_from_step_to_step_and_is_a_function_of_it(text_file, tmp_path):
    """One batch for ever and a rate of almost zero: what differs between losses is dropout."""
    first = torch.arange(65).view(5, 13) % 28

    class Same:
        def batch(self, step, rank=0, world=1):
            return first, first + 1

        def steps(self, epochs):
            return 1

    more = {"model.dropout": 0.5, "training.learning_rate": 1e-12}
    more["training.min_learning_rate"] = 0
    runs = [
        [e.loss for e in of(train(config_for(text_file, tmp_path / name, **more), batches=Same()),
                            Step)]
        for name in ("a", "b")
    ]  # fmt: skip
    assert runs[0] == runs[1] and len(set(runs[0])) == 12


def test_a_finished_run_says_so_and_does_nothing(text_file, tmp_path):
    config = config_for(text_file, tmp_path / "run")
    list(train(config))
    before = losses(tmp_path / "run")
    events = list(train(config))
    assert [type(event) for event in events] == [Started, Finished]
    assert events[-1].reason == "already" and losses(tmp_path / "run") == before
    with pytest.raises(UsageError, match="already holds a run"):
        list(train(config, resume="never"))


def test_a_finished_run_can_go_on_longer(text_file, tmp_path):
    list(train(config_for(text_file, tmp_path / "run")))
    longer = config_for(text_file, tmp_path / "run", **{"training.max_steps": 15})
    assert [event.step for event in of(train(longer), Step)] == [13, 14, 15]


def test_a_changed_configuration_names_the_keys(text_file, tmp_path):
    list(train(config_for(text_file, tmp_path / "run")))
    more = {"model.n_embd": 24, "training.learning_rate": 0.5}
    with pytest.raises(ConfigError) as error:
        list(train(config_for(text_file, tmp_path / "run", **more)))
    assert "model.n_embd (21 there, 24 here)" in str(error.value)
    assert "training.learning_rate (0.001 there, 0.5 here)" in str(error.value)


def test_a_mistake_found_late_does_not_spoil_the_directory(text_file, tmp_path):
    with pytest.raises(ConfigError, match="less than the tokenizer's"):
        list(train(config_for(text_file, tmp_path / "run", **{"model.vocab_size": 5})))
    more = {"model.vocab_size": 64}
    assert list(train(config_for(text_file, tmp_path / "run", **more)))[-1].reason == "complete"


def test_a_folder_of_the_user_s_is_not_taken_for_data(text_file, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "notes.txt").write_text("mine")
    with pytest.raises(UsageError, match="what minigpt2 did not write"):
        list(train(config_for(text_file, tmp_path)))
    assert (tmp_path / "data" / "notes.txt").read_text() == "mine"


def test_a_validation_split_too_small_is_told_before_training(text_file, tmp_path):
    with pytest.raises(DataError, match=r"validation split .* has 1 tokens"):
        list(train(config_for(text_file, tmp_path / "run", **{"data.val_fraction": 1e-6})))


def test_other_data_or_another_tokenizer_is_refused(text_file, tmp_path, tokenizer):
    list(train(config_for(text_file, tmp_path / "a")))
    (tmp_path / "other.txt").write_text("zebras graze\n" * 200)
    list(train(config_for(tmp_path / "other.txt", tmp_path / "b")))
    with pytest.raises(DataError, match="another tokenizer"):
        config = config_for(tmp_path / "b" / "data", tmp_path / "c")
        list(train(config, tokenizer=tokenizer))
    data = tmp_path / "a" / "data"
    data.rename(tmp_path / "moved")
    (tmp_path / "b" / "data").rename(data)
    with pytest.raises(DataError, match="not the data"):
        list(train(config_for(text_file, tmp_path / "a", **{"training.max_steps": 20})))


def test_a_damaged_checkpoint_is_passed_over_when_resuming(text_file, tmp_path):
    out = tmp_path / "run"
    list(train(config_for(text_file, out)))
    clean = losses(out)
    for path in RunDirectory(out).checkpoints()[-1:]:
        (path / "model.safetensors").write_bytes(b"x")
    lines = []
    list(train(config_for(text_file, out), say=lines.append))
    assert any("skipped" in line and "step-00000012" in line for line in lines)
    assert losses(out) == clean
    for path in RunDirectory(out).checkpoints():
        (path / "model.safetensors").write_bytes(b"x")
    with pytest.raises(DataError, match="no checkpoint"):
        list(train(config_for(text_file, out)))


def test_best_is_kept_apart_from_latest_and_patience_ends_the_run(text_file, tmp_path):
    """From the second evaluation on, the text cannot be learnt: the rate is absurd."""
    more = {"training.max_steps": 400, "training.patience": 2, "training.learning_rate": 3.0,
            "training.warmup_steps": 0, "training.schedule": "constant"}  # fmt: skip
    events = list(train(config_for(text_file, tmp_path / "run", **more)))
    end = events[-1]
    assert end.reason == "patience" and end.step == end.best_step + 2 * 4 < 400
    run = RunDirectory(tmp_path / "run")
    assert run.best(print) == run.step_dir(end.best_step)
    assert run.latest(print) == run.step_dir(end.step)
    assert end.best_loss == min(event.val_loss for event in of(events, Evaluated))
    assert list(train(config_for(text_file, tmp_path / "run", **more)))[-1].reason == "already"


def test_accumulation_of_four_equals_the_big_batch(tiny):
    tokens = torch.randint(29, (8, 13), generator=torch.Generator().manual_seed(0))
    targets = tokens.roll(-1, 1)
    targets[0, 3:] = targets[5, 1:] = targets[6] = -100  # uneven shares, one empty row
    gradients = []
    for micro in (8, 2, 1, 3):
        tiny.zero_grad()
        settings = {**SHORT, "training.batch_size": 8, "training.micro_batch_size": micro}
        here = make_plan(resolve(environment={}, flags=settings).config)
        loss = accumulate(tiny, tokens, targets, here)
        gradients.append((loss, [p.grad.clone() for p in tiny.parameters()]))
    for loss, grads in gradients[1:]:
        assert loss == pytest.approx(gradients[0][0], abs=1e-6)
        for a, b in zip(grads, gradients[0][1], strict=True):
            torch.testing.assert_close(a, b, atol=1e-6, rtol=1e-4)


def test_decay_falls_on_matrices_alone(tiny):
    decayed, free = decay_groups(tiny, 0.1)
    names = {parameter: name for name, parameter in tiny.named_parameters()}
    assert decayed["weight_decay"] == 0.1 and free["weight_decay"] == 0
    assert {names[p] for p in free["params"]} == {
        name for name in names.values() if name.endswith("bias") or "ln_" in name
    }
    assert len(decayed["params"]) + len(free["params"]) == len(names)
    before = {name: p.detach().clone() for p, name in names.items()}
    optimizer = build_optimizer(tiny, TrainingSection(learning_rate=0.1, weight_decay=0.5))
    for parameter in tiny.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for parameter, name in names.items():
        factor = 0.95 if parameter.dim() == 2 else 1.0
        torch.testing.assert_close(parameter.data, factor * before[name])


@pytest.mark.parametrize("kind", ["adamw", "adam"])
def test_optimizers_follow_their_published_rule(kind):
    weight = torch.nn.Parameter(torch.tensor([[0.5, -2.0]]))
    model = torch.nn.ParameterDict({"w": weight})
    settings = TrainingSection(
        optimizer=kind, learning_rate=0.1, weight_decay=0.3, beta1=0.8, beta2=0.9
    )
    optimizer = build_optimizer(model, settings)
    theta, m, v = weight.detach().clone(), 0.0, 0.0
    for t in range(1, 6):
        gradient = torch.tensor([[0.3 * t, -0.7]])
        weight.grad = gradient.clone()
        optimizer.step()
        if kind == "adam":
            gradient = gradient + 0.3 * theta
        else:
            theta = theta * (1 - 0.1 * 0.3)
        m, v = 0.8 * m + 0.2 * gradient, 0.9 * v + 0.1 * gradient**2
        theta = theta - 0.1 * (m / (1 - 0.8**t)) / ((v / (1 - 0.9**t)).sqrt() + 1e-8)
        torch.testing.assert_close(weight.data, theta)


def test_clipping_scales_to_the_limit_and_zero_leaves_alone(tiny):
    for parameter in tiny.parameters():
        parameter.grad = torch.ones_like(parameter)
    norm = math.sqrt(sum(parameter.numel() for parameter in tiny.parameters()))
    assert clip_gradients(tiny, 0) == pytest.approx(norm)
    assert clip_gradients(tiny, 2.0) == pytest.approx(norm)
    assert clip_gradients(tiny, 0) == pytest.approx(2.0, rel=1e-4)


def test_a_non_finite_loss_stops_before_the_update(text_file, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "accumulate", poison(loop.accumulate, after=7))
    with pytest.raises(MiniGPT2Error, match=r"step 8: loss nan.*not taken"):
        list(train(config_for(text_file, tmp_path / "run")))
    run = RunDirectory(tmp_path / "run")
    assert run.latest(print).name == "step-00000006"
    model, _ = from_pretrained(tmp_path / "run")
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def poison(function, after):
    calls = []

    def poisoned(*args):
        calls.append(1)
        return math.nan if len(calls) > after else function(*args)

    return poisoned


SCHEDULES = {
    "constant": [0.25, 0.5, 0.75, 1, 1, 1, 1, 1, 1, 1],
    "linear": [0.25, 0.5, 0.75] + [1 - 0.9 * i / 7 for i in range(7)],
    "cosine": [0.25, 0.5, 0.75]
    + [0.1 + 0.9 * (1 + math.cos(math.pi * i / 7)) / 2 for i in range(7)],
    "wsd": [0.25, 0.5, 0.75, 1, 1, 0.85, 0.7, 0.55, 0.4, 0.25],
}


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_schedules_equal_their_formulas(schedule):
    settings = TrainingSection(
        schedule=schedule, learning_rate=1.0, min_learning_rate=0.1, warmup_steps=3
    )
    rates = [learning_rate(step, 10, settings) for step in range(10)]
    assert rates == pytest.approx(SCHEDULES[schedule])


def test_decay_steps_end_the_decay_early():
    settings = TrainingSection(
        learning_rate=1.0, min_learning_rate=0.1, warmup_steps=0, decay_steps=5
    )
    assert [learning_rate(step, 10, settings) for step in (5, 9)] == pytest.approx([0.1, 0.1])


def test_epochs_become_steps(text_file, tmp_path):
    more = {"training.num_epochs": 2, "training.batch_size": 97}
    flags = {**SHORT, "data.input_file": str(text_file), **more}
    del flags["training.max_steps"]
    flags["logging.model_save_path"] = str(tmp_path / "run")
    events = list(train(resolve(environment={}, flags=flags).config))
    assert 2 * 2429 / (13 * 97) < events[0].total_steps < 2 * 2429 / (13 * 97) + 2
    assert events[-1].step == events[0].total_steps


def test_parts_can_be_swapped(text_file, tmp_path, tokenizer):
    class Quiet(Block):
        pass

    model = GPT2(GPT2Config(31, 13, 1, 3, 21), block=Quiet)
    events = list(train(config_for(text_file, tmp_path / "run"), model=model, tokenizer=tokenizer))
    assert events[-1].reason == "complete"
    tree = json.loads((tmp_path / "run/latest/config.json").read_text())
    assert (tree["model_type"], tree["n_layer"], tree["vocab_size"]) == ("minigpt2-variant", 1, 31)


def test_a_vocabulary_may_be_padded_but_not_cut(text_file, tmp_path):
    more = {"model.vocab_size": 64}
    list(train(config_for(text_file, tmp_path / "a", **more)))
    model, tokenizer = from_pretrained(tmp_path / "a")
    assert (model.config.vocab_size, tokenizer.vocab_size) == (64, 29)
    with pytest.raises(ConfigError, match="less than the tokenizer's 29"):
        list(train(config_for(text_file, tmp_path / "b", **{"model.vocab_size": 28})))


def test_a_missing_device_is_told_with_the_remedy():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    for device, message in [
        ("cuda", "no such CUDA device"),
        ("cuda:9", "no such"),
        ("tpu", "not a"),
        ("cpu:", "not a"),
        ("cuda:²", "not a"),
    ]:
        with pytest.raises(UnavailableError, match=message):
            make_plan(resolve(environment={}, flags={"training.device": device}).config)


def test_the_plan_is_measured_once_and_recalled(monkeypatch):
    flags = {**SHAPE, "training.device": "cpu"}
    config = resolve(environment={}, flags=flags).config
    first = make_plan(config)

    def fail(*args):
        raise AssertionError("measured twice")

    monkeypatch.setattr(plan, "_time_block", fail)
    assert make_plan(config) == first
    with pytest.raises(AssertionError, match="measured twice"):
        make_plan(resolve(environment={}, flags={**flags, "model.n_embd": 24}).config)


def test_what_is_asked_for_is_not_measured_away():
    flags = {**SHAPE, "training.device": "cpu", "training.attention": "fused"}
    assert make_plan(resolve(environment={}, flags=flags).config).attention == "fused"
    flags |= {"training.dtype": "float32"}
    chosen = make_plan(resolve(environment={}, flags=flags).config)
    assert (chosen.dtype, chosen.attention) == ("float32", "fused")
    flags |= {"training.attention": "explicit", "training.dtype": "auto", "model.kind": "bigram"}
    assert make_plan(resolve(environment={}, flags=flags).config).attention == "explicit"


@pytest.mark.skipif(os.name == "nt", reason="folders without write permission are Unix")
def test_no_home_is_no_obstacle(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/nothing/here")
    assert make_plan(resolve(environment={}, flags=SHAPE).config).device


@pytest.mark.slow
def test_a_compiled_run_follows_the_eager_one(text_file, tmp_path):
    pytest.importorskip("torch._inductor")
    runs = []
    for compiled in (False, True):
        more = {"training.compile": compiled, "training.max_steps": 3}
        events = train(config_for(text_file, tmp_path / str(compiled), **more))
        runs.append([event.loss for event in of(events, Step)])
    assert runs[1] == pytest.approx(runs[0], abs=1e-4)


def test_the_curve_is_a_picture(tmp_path):
    logs = {"a": [{"step": 1, "train_loss": 3.0}, {"step": 2, "train_loss": 2.0, "val_loss": 2.5}]}
    draw_curves(logs, tmp_path / "one.png", bigram_loss=2.4)
    draw_curves(logs | {"b": logs["a"]}, tmp_path / "two.png")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    assert (tmp_path / "two.png").stat().st_size > 10_000


def test_tensorboard_sees_the_same_numbers(text_file, tmp_path):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    list(train(config_for(text_file, tmp_path / "run")))
    events = accumulator.EventAccumulator(str(tmp_path / "run/tensorboard")).Reload()
    seen = {scalar.step: scalar.value for scalar in events.Scalars("train_loss")}
    log = RunDirectory(tmp_path / "run").read_log()
    assert seen == pytest.approx({entry["step"]: entry["train_loss"] for entry in log})


def test_history_keeps_weights_evenly_over_the_logarithm_of_steps(text_file, tmp_path):
    out = tmp_path / "run"
    more = {"logging.keep_history": 2, "training.seed": 5}
    list(train(config_for(text_file, out, **more)))
    history = RunDirectory(out).history()
    assert list(history) == [0, 1, 2, 3, 4, 6, 8, 11]
    assert all(not (path / "optimizer.safetensors").exists() for path in history.values())
    start, _ = from_pretrained(history[0])
    later, _ = from_pretrained(history[11])
    assert not torch.equal(start.wte.weight, later.wte.weight)
    # what was kept at a step is what is saved at it
    one = {**more, "logging.keep_last": 99, "logging.save_interval": 1}
    list(train(config_for(text_file, tmp_path / "every", **one)))
    saved, _ = from_pretrained(RunDirectory(tmp_path / "every").step_dir(6))
    kept, _ = from_pretrained(history[6])
    assert all(
        torch.equal(a, b) for a, b in zip(saved.parameters(), kept.parameters(), strict=True)
    )


def test_history_is_cut_back_with_the_run_and_resumed(text_file, tmp_path):
    out, more = tmp_path / "run", {"logging.keep_history": 2}
    events = train(config_for(text_file, out, **more))
    for event in events:  # killed behind step 11, kept, and before the save of step 12
        if isinstance(event, Step) and event.step == 12:
            events.close()
            break
    run = RunDirectory(out)
    assert 11 in run.history()
    (out / "history" / ".tmp-step-00000011-77").mkdir()
    begun = train(config_for(text_file, out, **more))
    assert next(begun).step == 9
    assert list(run.history()) == [0, 1, 2, 3, 4, 6, 8]
    list(begun)
    assert list(run.history()) == [0, 1, 2, 3, 4, 6, 8, 11]
    assert not list((out / "history").glob(".tmp*"))


def test_without_being_asked_no_history_is_kept(text_file, tmp_path):
    list(train(config_for(text_file, tmp_path / "run")))
    assert not (tmp_path / "run" / "history").exists()
