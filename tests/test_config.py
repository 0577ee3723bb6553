"""The configuration: order of sources, all mistakes at once, and numbers that look like words."""

import contextlib
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from minigpt2 import config as schema
from minigpt2.cli.nanogpt import translate
from minigpt2.errors import ConfigError, InputMissingError, UsageError
from minigpt2.settings import presets, resolve

ROOT = Path(__file__).parent.parent


def write(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_later_sources_win_and_are_named(tmp_path):
    path = write(tmp_path, "training: {learning_rate: 2e-4, beta1: 0.8, beta2: 0.7}")
    environment = {"MINIGPT2_TRAINING_BETA1": "0.6", "MINIGPT2_TRAINING_BETA2": "0.5"}
    flags = {"training.beta2": "0.4"}
    settings = resolve("tiny-byte", path, environment, flags)
    training = settings.config.training
    assert (training.learning_rate, training.beta1, training.beta2) == (2e-4, 0.6, 0.4)
    assert settings.sources["data.tokenizer"] == "preset tiny-byte"
    assert settings.sources["training.learning_rate"] == str(path)
    assert settings.sources["training.beta1"] == "environment"
    assert settings.sources["training.beta2"] == "flag"
    assert settings.sources["training.grad_clip"] == "default"
    described = yaml.safe_load(settings.describe())
    assert described["training"]["beta2"] == 0.4


def test_all_mistakes_are_reported_at_once(tmp_path):
    path = write(tmp_path, "model: {n_layr: 4, n_head: 2.5}\ntraining: {learning_rate: -1}")
    with pytest.raises(ConfigError) as error:
        resolve(None, path, {}, {"training.optimizer": "sgd"})
    told = "\n".join(error.value.problems)
    assert len(error.value.problems) == 4
    assert "unknown key model.n_layr; did you mean model.n_layer?" in told
    assert "model.n_head needs a whole number, not 2.5" in told
    assert "training.learning_rate must be above 0.0, not -1" in told
    assert "training.optimizer needs one of adamw, adam, not 'sgd'" in told


def test_a_broken_section_does_not_hide_other_mistakes(tmp_path):
    path = write(tmp_path, "model: 5\ntraining: {beta1: 9}")
    with pytest.raises(ConfigError) as error:
        resolve("nothing", path, {}, {"training.beta2": "x"})
    assert len(error.value.problems) == 4


def test_keys_must_agree_with_each_other():
    flags = {"model.n_head": 5, "training.sequence_length": 65, "training.min_learning_rate": 1}
    with pytest.raises(ConfigError) as error:
        resolve(None, None, {}, flags)
    assert len(error.value.problems) == 3


@pytest.mark.parametrize(
    ("key", "value", "wanted"),
    [("training.learning_rate", "3e-4", 3e-4), ("training.max_steps", "1e3", 1000),
     ("training.compile", "False", False), ("training.patience", "none", None),
     ("training.patience", None, None), ("training.seed", "9007199254740993", 2**53 + 1),
     ("data.input_file", 1984, "1984"),
     ("model.dropout", 0, 0.0), ("training.seed", 2**62 + 1, 2**62 + 1)],
)  # fmt: skip
def test_values_are_understood(key, value, wanted):
    assert schema.coerce(key, value) == wanted
    assert type(schema.coerce(key, value)) is type(wanted)


@pytest.mark.parametrize(
    ("key", "value"),
    [("training.learning_rate", "fast"), ("training.learning_rate", "nan"),
     ("training.learning_rate", float("inf")), ("model.n_layer", True), ("model.n_layer", None),
     ("training.compile", 2), ("data.input_file", []), ("data.val_fraction", 1.5),
     ("training.seed", 2**63), ("training.learning_rate", 10**400),
     ("model.n_layer", [4]), ("model.kind", "gpt3")],
)  # fmt: skip
def test_values_that_mean_nothing_are_refused(key, value):
    with pytest.raises(ValueError, match=r"needs|must be"):
        schema.coerce(key, value)


@given(st.sampled_from([key for key, _ in schema.options()]), st.text(max_size=12))
def test_any_text_is_a_value_or_a_value_error(key, text):
    with contextlib.suppress(ValueError):
        schema.coerce(key, text)


@given(st.text(max_size=60))
def test_any_file_is_a_configuration_or_a_config_error(tmp_path_factory, text):
    path = tmp_path_factory.mktemp("fuzz") / "c.yaml"
    path.write_text(text, encoding="utf-8")
    with contextlib.suppress(ConfigError):
        resolve(None, path, {})


def test_the_length_of_a_run_is_said_once_and_later_sources_replace_it(tmp_path):
    training = resolve("shakespeare-char", None, {}, {"training.num_epochs": "3"}).config.training
    assert (training.max_steps, training.num_epochs) == (None, 3)
    settings = resolve("shakespeare-char", None, {}, {"training.num_epochs": "3"})
    assert settings.sources["training.max_steps"] == "flag"
    path = write(tmp_path, "training: {num_epochs: 2, max_steps: 10}")
    with pytest.raises(ConfigError, match="exactly one"):
        resolve(None, path, {})


@pytest.mark.parametrize(
    ("text", "message"),
    [("a: [", "line"), ("- 1", "sections"), ("model: 3", "needs keys"), ("\t", "line 1"),
     ("training: {seed: 1, seed: 2}", "seed stands twice"), ("!!timestamp foo", "configuration"),
     ("model: {}\nmodel: {}", "model stands twice"),
     ("modle: {n_layer: 3}", "unknown key modle; did you mean model")],
)  # fmt: skip
def test_files_that_are_no_configuration(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        resolve(None, write(tmp_path, text), {})


def test_missing_and_unreadable_files(tmp_path):
    with pytest.raises(InputMissingError, match=r"nothing\.yaml"):
        resolve(None, tmp_path / "nothing.yaml", {})
    with pytest.raises(ConfigError, match="directory"):
        resolve(None, tmp_path, {})
    (tmp_path / "l.yaml").write_bytes(b"model: \xe9")
    with pytest.raises(ConfigError, match="not UTF-8 at byte 7"):
        resolve(None, tmp_path / "l.yaml", {})
    with pytest.raises(ConfigError, match="did you mean shakespeare-char"):
        resolve("shakespear-char", None, {})


@pytest.mark.parametrize("path", sorted((ROOT / "config").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_example_configuration_loads(path):
    settings = resolve(None, path, {})
    assert settings.given()


def test_the_default_configuration_is_gpt2_124m():
    config = resolve(None, ROOT / "config/default_config.yaml", {}).config
    m, t = config.model, config.training
    assert (m.n_layer, m.n_head, m.n_embd, m.block_size) == (12, 12, 768, 1024)
    assert (t.num_epochs, t.batch_size, t.sequence_length, t.learning_rate) == (50, 4, 32, 3e-4)
    assert (config.data.input_file, t.device) == ("input.txt", "auto")
    logging = config.logging
    assert (logging.log_interval, logging.save_interval) == (10, 1000)
    assert logging.model_save_path == "checkpoints/"


SIZES = {"gpt2-124m": 124.4, "gpt2-medium": 354.8, "gpt2-large": 774.0, "gpt2-xl": 1557.6}


@pytest.mark.parametrize("name", presets())
def test_every_preset_takes_one_step(name):
    """The big ones on the meta device, where shapes are real and numbers are not."""
    import torch

    from minigpt2.tokenizers import ByteTokenizer, gpt2_tokenizer
    from minigpt2.training import build_model
    from minigpt2.training.optimizers import build_optimizer

    config = resolve(name, None, {}).config
    big = name in SIZES
    with torch.device("meta" if big else "cpu"):
        model = build_model(config, gpt2_tokenizer() if big else ByteTokenizer())
        tokens = torch.zeros(2, config.sequence_length, dtype=torch.int64)
    if big:
        assert sum(p.numel() for p in model.parameters()) / 1e6 == pytest.approx(
            SIZES[name], abs=0.05
        )
    loss = model(tokens, tokens)
    loss.backward()
    before = None if big else next(model.parameters()).detach().clone()
    optimizer = build_optimizer(model, config.training)
    if not big:
        optimizer.step()
        assert not torch.equal(before, next(model.parameters()))
    assert all(parameter.grad is not None for parameter in model.parameters())


NANOGPT = (
    "train config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 "
    "--log_interval=1 --block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 "
    "--max_iters=2000 --lr_decay_iters=2000 --dropout=0.0"
).split()


def test_nanogpts_command_line_is_translated():
    arguments, remarks = translate(NANOGPT)
    assert (
        arguments
        == (
            "train --preset shakespeare-char-10m --training.device cpu --training.compile False "
            "--logging.log-interval 1 --model.block-size 64 --training.batch-size 12 "
            "--model.n-layer 4 --model.n-head 4 --model.n-embd 128 --training.max-steps 2000 "
            "--training.decay-steps 2000 --model.dropout 0.0"
        ).split()
    )
    assert len(remarks) == 2 and "whole split" in remarks[0]


def test_text_is_never_translated():
    line = ["generate", "--prompt", "--my_text=a_b", "--stop", "--start", "--max_new_tokens", "3"]
    texts = ["--prompt=--my_text=a_b", "--stop=--start"]  # joined, or they would be options
    assert translate(line)[0] == ["generate", *texts, "--max-new-tokens", "3"]
    assert translate(["chat", "--stop", "--a_b"])[0] == ["chat", "--stop=--a_b"]
    assert translate(["chat", "--stop", "a_b"])[0] == ["chat", "--stop", "a_b"]


def test_every_alias_is_an_option():
    from minigpt2.cli import nanogpt

    known = {key.replace("_", "-") for key, _ in schema.options()} | {"out"}
    assert set(nanogpt._NAMES["train"].values()) <= known


def test_accumulation_and_start_are_translated():
    line = "train --gradient_accumulation_steps=8 --batch_size 3 --init_from=resume --out_dir=x"
    assert translate(line.split())[0] == (
        "train --out x --training.batch-size 24 --training.micro-batch-size 3".split()
    )
    assert translate(["train", "--init_from=scratch"])[0][1:] == ["--resume", "never"]
    with pytest.raises(UsageError, match="scratch, resume or gpt2"):
        translate(["train", "--init_from=llama"])
    assert translate(["train", "--init_from=gpt2-xl"])[0][1:] == ["--init", "gpt2-xl"]
    with pytest.raises(UsageError, match="whole number"):
        translate(["train", "--batch_size=3", "--gradient_accumulation_steps=x"])
    assert translate(["generate", "--init_from=gpt2"])[0][1:] == ["--model", "gpt2"]
    assert translate(["generate", "--init_from=resume"])[0][1:] == []
    line = "generate --start=Hi --num_samples=2 --max_new_tokens=5 --out_dir=x --top_k=3"
    assert translate(line.split())[0] == (
        "generate --prompt Hi --n 2 --max-new-tokens 5 --model x --top-k 3".split()
    )
