"""transformers opens what we write, and we open what it writes: equal logits, equal gradients."""

import json

import pytest
import torch

transformers = pytest.importorskip("transformers")

from minigpt2 import from_pretrained, save_pretrained  # noqa: E402
from minigpt2.checkpoints.weights import config_to_json  # noqa: E402
from minigpt2.errors import DataError  # noqa: E402
from minigpt2.tokenizers import (  # noqa: E402
    END_OF_TEXT,
    ByteTokenizer,
    CharTokenizer,
    gpt2_tokenizer,
    make_tokenizer,
    tokenizer_files,
)

TOKENS = torch.randint(29, (5, 11), generator=torch.Generator().manual_seed(1))


def assert_same(ours, theirs):
    torch.testing.assert_close(ours(TOKENS), theirs(TOKENS).logits, atol=1e-5, rtol=0)
    targets = TOKENS.roll(-1, 1)
    targets[:, -1] = -100
    loss = ours(TOKENS, targets)
    loss.backward()
    their_loss = theirs(TOKENS, labels=TOKENS).loss  # shifts the labels itself
    their_loss.backward()
    torch.testing.assert_close(loss, their_loss, atol=1e-5, rtol=0)
    theirs_by_name = dict(theirs.named_parameters())
    for name, parameter in ours.named_parameters():
        gradient = theirs_by_name["transformer." + name].grad
        if parameter.dim() == 2 and name.startswith("h."):
            gradient = gradient.T
        torch.testing.assert_close(parameter.grad, gradient, atol=1e-5, rtol=0, msg=name)


def test_transformers_opens_ours(tiny, tokenizer, tmp_path):
    save_pretrained(tiny, tokenizer, tmp_path / "m")
    theirs, report = transformers.AutoModelForCausalLM.from_pretrained(
        tmp_path / "m", output_loading_info=True
    )
    assert not any(report.values()), report
    assert_same(tiny, theirs.eval())


def test_we_open_transformers(tokenizer, tmp_path):
    config = transformers.GPT2Config(
        vocab_size=29,
        n_positions=13,
        n_embd=21,
        n_layer=2,
        n_head=3,
        bos_token_id=1,
        eos_token_id=1,
    )
    torch.manual_seed(5)
    theirs = transformers.GPT2LMHeadModel(config).eval()
    for parameter in theirs.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    theirs.save_pretrained(tmp_path)
    for name, content in tokenizer_files(tokenizer, 13).items():
        (tmp_path / name).write_bytes(content)
    ours, _ = from_pretrained(tmp_path)
    assert_same(ours, theirs)


@pytest.mark.parametrize("field", ["scale_attn_by_inverse_layer_idx", "activation_function"])
def test_other_mathematics_is_refused_by_name(tiny, tokenizer, tmp_path, field):
    folder = tmp_path / "m"
    save_pretrained(tiny, tokenizer, folder)
    (folder / "manifest.json").unlink()
    tree = json.loads((folder / "config.json").read_text())
    tree[field] = "relu" if field == "activation_function" else True
    (folder / "config.json").write_text(json.dumps(tree))
    with pytest.raises(DataError, match=field):
        from_pretrained(folder)


SAMPLES = ["To be, or\n\n not to be?", "  two  blanks", "tabs\tand\nlines \n", "ROMEO:"]


@pytest.mark.parametrize(
    ("tokenizer", "more"),
    [
        (CharTokenizer.from_text("".join(SAMPLES) + "é😀"), "é😀"),
        (CharTokenizer(sorted(set("".join(SAMPLES)) | set("é😀")), None, (END_OF_TEXT,)), "é😀"),
        (ByteTokenizer(), "naïve 日本 😀"),
        (ByteTokenizer((END_OF_TEXT, "<|user|>")), "naïve 日本 😀"),
        (make_tokenizer("bpe:400", SAMPLES * 9), "naïve 日本 😀, it's  1234"),
        (gpt2_tokenizer(), "naïve 日本 😀, it's  1234\n\n\n x"),
    ],
    ids=["characters", "characters, separated", "bytes", "bytes, separated", "bpe", "gpt2"],
)
def test_auto_tokenizer_gives_our_ids(tiny, tmp_path, tokenizer, more):
    for name, content in tokenizer_files(tokenizer, 13).items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "config.json").write_text(json.dumps(config_to_json(tiny, None)))
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path)
    for text in [*SAMPLES, more]:
        assert theirs(text)["input_ids"] == tokenizer.encode(text)
        assert theirs.decode(tokenizer.encode(text)) == text
    assert theirs.eos_token_id == tokenizer.eos_id
