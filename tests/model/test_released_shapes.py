"""The four released shapes, shrunk here and whole in the slow tests, are transformers' GPT-2.

Logits and gradients both ways, and the greedy continuation, with every kind of tokenizer.
"""

import pytest
import torch

transformers = pytest.importorskip("transformers")

from tests.generation.test_engine import written  # noqa: E402

from minigpt2 import from_pretrained, save_pretrained  # noqa: E402
from minigpt2.generation import Sampling  # noqa: E402
from minigpt2.model import GPT2, GPT2Config  # noqa: E402
from minigpt2.tokenizers import (  # noqa: E402
    ByteTokenizer,
    CharTokenizer,
    gpt2_tokenizer,
    make_tokenizer,
    tokenizer_files,
)

TEXT = "the quick brown fox jumps over the lazy dog.\n"
# Layers and heads as released, the width of a head shrunk to a few numbers.
SHAPES = {
    "gpt2": (12, 12, 36, CharTokenizer.from_text(TEXT)),
    "gpt2-medium": (24, 16, 48, make_tokenizer("bpe:280", [TEXT * 9])),
    "gpt2-large": (36, 20, 60, ByteTokenizer()),
    "gpt2-xl": (48, 25, 75, CharTokenizer.from_text(TEXT)),
}


def spread(model):
    """Move every number: nothing stays at zero or one, where faults hide."""
    torch.manual_seed(7)
    for parameter in model.parameters():
        parameter.data += 0.02 * torch.randn_like(parameter)
    return model.eval()


def assert_same(ours, theirs, tokens):
    torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-5, rtol=1e-5)
    targets = tokens.roll(-1, 1)
    targets[:, -1] = -100
    ours(tokens, targets).backward()
    theirs(tokens, labels=tokens).loss.backward()
    gradients = {n: p.grad for n, p in theirs.named_parameters()}
    for name, parameter in ours.named_parameters():
        gradient = gradients["transformer." + name]
        gradient = gradient.T if parameter.dim() == 2 and name.startswith("h.") else gradient
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=1e-4, msg=name)


def assert_same_greedy(ours, theirs, prompt, count):
    ids = written(ours, prompt, Sampling(count, 0.0))
    tokens = torch.tensor([prompt])
    again = theirs.generate(
        tokens, attention_mask=torch.ones_like(tokens), max_new_tokens=count, do_sample=False,
        pad_token_id=0, eos_token_id=None,
    )  # fmt: skip
    assert ids == again[0, len(prompt) :].tolist()


def opened_there(folder):
    return transformers.AutoModelForCausalLM.from_pretrained(folder).eval()


@pytest.mark.parametrize("name", SHAPES)
def test_transformers_computes_what_we_do(name, tmp_path):
    layers, heads, width, tokenizer = SHAPES[name]
    ours = spread(GPT2(GPT2Config(tokenizer.vocab_size, 80, layers, heads, width)))
    save_pretrained(ours, tokenizer, tmp_path / "m")
    theirs = opened_there(tmp_path / "m")
    prompt = tokenizer.encode(TEXT[:10])
    assert_same(ours, theirs, torch.randint(tokenizer.vocab_size, (2, 11)))
    assert_same_greedy(ours, theirs, prompt, 64)
    ids = transformers.AutoTokenizer.from_pretrained(tmp_path / "m")(TEXT)["input_ids"]
    assert ids == tokenizer.encode(TEXT)


@pytest.mark.parametrize("name", SHAPES)
def test_we_compute_what_transformers_does(name, tmp_path):
    layers, heads, width, tokenizer = SHAPES[name]
    config = transformers.GPT2Config(
        vocab_size=tokenizer.vocab_size, n_positions=80, n_embd=width, n_layer=layers,
        n_head=heads, bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    theirs = spread(transformers.GPT2LMHeadModel(config))
    theirs.save_pretrained(tmp_path)
    for file, content in tokenizer_files(tokenizer, 80).items():
        (tmp_path / file).write_bytes(content)
    ours, _ = from_pretrained(tmp_path)
    assert_same(ours, theirs, torch.randint(tokenizer.vocab_size, (2, 11)))
    assert_same_greedy(ours, theirs, tokenizer.encode(TEXT[:10]), 64)


def test_a_transposed_projection_is_caught(tmp_path):
    """c_proj of attention is square: it would load transposed without an error."""
    tokenizer = CharTokenizer.from_text(TEXT)
    ours = spread(GPT2(GPT2Config(tokenizer.vocab_size, 80, 2, 3, 36)))
    save_pretrained(ours, tokenizer, tmp_path / "m")
    theirs = opened_there(tmp_path / "m")
    tokens = torch.randint(tokenizer.vocab_size, (2, 11))
    ours.h[1].attn.c_proj.weight.data = ours.h[1].attn.c_proj.weight.data.T.contiguous()
    with pytest.raises(AssertionError):
        assert_same(ours, theirs, tokens)


@pytest.mark.parametrize(
    "more", [{"activation_function": "gelu"}, {"n_inner": 55}, {"layer_norm_epsilon": 1e-3}]
)
def test_variants_that_are_honoured_compute_the_same_both_ways(more, tmp_path):
    tokenizer = CharTokenizer.from_text(TEXT)
    ours = spread(GPT2(GPT2Config(tokenizer.vocab_size, 80, 2, 3, 36, **more)))
    save_pretrained(ours, tokenizer, tmp_path / "m")
    theirs = opened_there(tmp_path / "m")
    assert_same(ours, theirs, torch.randint(tokenizer.vocab_size, (2, 11)))
    again, _ = from_pretrained(tmp_path / "m")
    assert again.config == ours.config


@pytest.mark.slow
def test_the_whole_124m_is_transformers_gpt2(tmp_path):
    ours = spread(GPT2(GPT2Config(50257)))
    save_pretrained(ours, gpt2_tokenizer(), tmp_path / "m")
    theirs = opened_there(tmp_path / "m")
    prompt = gpt2_tokenizer().encode("The dog")
    assert_same_greedy(ours, theirs, prompt, 64)
    assert_same(ours, theirs, torch.randint(50257, (2, 31)))
    config = transformers.GPT2Config(attn_pdrop=0, embd_pdrop=0, resid_pdrop=0)
    theirs = spread(transformers.GPT2LMHeadModel(config))
    theirs.save_pretrained(tmp_path / "n", max_shard_size="200MB")  # in shards
    for file, content in tokenizer_files(gpt2_tokenizer(), 1024).items():
        (tmp_path / "n" / file).write_bytes(content)
    assert (tmp_path / "n/model.safetensors.index.json").exists()
    ours, _ = from_pretrained(tmp_path / "n")
    assert_same_greedy(ours, theirs, prompt, 64)
    assert_same(ours, theirs, torch.randint(50257, (2, 31)))
