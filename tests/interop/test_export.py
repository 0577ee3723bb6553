"""What is exported is the model: GGUF tensor for tensor, ONNX logit for logit, the card's facts."""

import json

import numpy as np
import pytest
import torch

from minigpt2 import from_pretrained, save_pretrained
from minigpt2.__main__ import run
from minigpt2.errors import DataError, MiniGPT2Error, UnavailableError
from minigpt2.interop import exports
from minigpt2.model import GPT2, Bigram, BigramConfig, GPT2Config, add_lora
from minigpt2.tokenizers import (
    END_OF_TEXT,
    CharTokenizer,
    gpt2_tokenizer,
)
from minigpt2.tokenizers.bpe import byte_symbols

gguf = pytest.importorskip("gguf")
LINE = ["--training.max-steps", "8", "--model.n-layer", "1", "--model.n-head", "1",
        "--model.n-embd", "32", "--model.block-size", "16", "--training.eval-interval", "4",
        "--training.dtype", "float32", "--training.attention", "explicit"]  # fmt: skip


def read(path):
    reader = gguf.GGUFReader(path)
    tensors = {t.name: t for t in reader.tensors}
    return {name: field.contents() for name, field in reader.fields.items()}, tensors


@pytest.mark.parametrize("kind", exports.TYPES)
def test_gguf_holds_the_model_under_llama_cpp_s_names(kind, tmp_path):
    torch.manual_seed(3)
    model = GPT2(GPT2Config(vocab_size=61, block_size=13, n_layer=2, n_head=2, n_embd=64))
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    tokenizer = CharTokenizer(sorted(map(chr, range(40, 97))), specials=(END_OF_TEXT,))
    assert exports.export_gguf(model, tokenizer, tmp_path / "m.gguf", kind) == []
    fields, tensors = read(tmp_path / "m.gguf")
    assert fields["general.architecture"] == "gpt2" and fields["gpt2.block_count"] == 2
    assert fields["gpt2.context_length"] == 13 and fields["gpt2.attention.head_count"] == 2
    assert len(tensors) == 4 + 2 * 12
    exact = {"f32": 0, "f16": 1e-3, "bf16": 5e-3, "q8_0": 5e-3}[kind]
    state = model.state_dict()
    for theirs, ours in (("blk.1.attn_qkv.weight", "h.1.attn.c_attn.weight"),
                         ("blk.0.ffn_down.weight", "h.0.mlp.c_proj.weight"),
                         ("token_embd.weight", "wte.weight"),
                         ("position_embd.weight", "wpe.weight"),
                         ("blk.1.ffn_norm.bias", "h.1.ln_2.bias")):  # fmt: skip
        stored = tensors[theirs]
        value = gguf.quants.dequantize(stored.data, stored.tensor_type)
        np.testing.assert_allclose(value, state[ours].numpy(), atol=exact, err_msg=theirs)
        plain = "position" in theirs or state[ours].dim() == 1
        assert stored.tensor_type.name.lower() == ("f32" if plain else kind)


def test_gguf_s_vocabulary_gives_our_ids(tmp_path):
    model = GPT2(GPT2Config(50304, 8, 1, 1, 32))
    exports.export_gguf(model, gpt2_tokenizer(), tmp_path / "m.gguf", "f16")
    fields, _ = read(tmp_path / "m.gguf")
    tokens, kinds = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    released = gpt2_tokenizer().to_json()["model"]
    assert {text: number for number, text in enumerate(tokens[:50257])} == released["vocab"]
    assert fields["tokenizer.ggml.merges"] == released["merges"]
    assert kinds[50256] == gguf.TokenType.CONTROL and set(kinds[50257:]) == {gguf.TokenType.UNUSED}
    assert fields["tokenizer.ggml.eos_token_id"] == 50256 and len(set(tokens)) == 50304

    symbols = byte_symbols()
    letters = CharTokenizer(sorted("ab \n"))
    small = GPT2(GPT2Config(4, 8, 1, 1, 32))
    exports.export_gguf(small, letters, tmp_path / "c.gguf", "f32")
    fields, _ = read(tmp_path / "c.gguf")
    assert fields["tokenizer.ggml.tokens"] == [symbols[ord(c)] for c in "\n ab"]
    assert "tokenizer.ggml.eos_token_id" not in fields


def test_what_gguf_cannot_say_is_told(tmp_path):
    model = GPT2(GPT2Config(5, 8, 1, 1, 20, activation_function="gelu"))
    with pytest.raises(DataError, match="beyond ASCII, and this one has 'é'"):
        exports.export_gguf(model, CharTokenizer(sorted("abcé")), tmp_path / "m.gguf", "f16")
    letters = CharTokenizer(sorted("abcd"))
    remarks = exports.export_gguf(model, letters, tmp_path / "m.gguf", "q8_0")
    assert "no multiple of q8_0's 32 numbers stay f16" in remarks[0]
    assert "activation gelu" in remarks[1]


def test_without_the_library_the_line_names_the_extra(tmp_path, monkeypatch):
    import sys

    model = GPT2(GPT2Config(5, 8, 1, 1, 20))
    for name in ("gguf", "onnx"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(UnavailableError, match=r'pip install "minigpt2\[export\]"'):
        exports.export_gguf(model, CharTokenizer("abcde"), tmp_path / "m.gguf", "f16")
    with pytest.raises(UnavailableError, match=r'pip install "minigpt2\[export\]"'):
        exports.export_onnx(model, tmp_path / "m.onnx")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    text = folder / "fox.txt"
    text.write_text("the quick brown fox jumps over the lazy dog.\n" * 60, encoding="utf-8")
    assert run(["train", str(text), "--out", str(folder / "fox"), *LINE]) == 0
    return folder / "fox"


def test_a_directory_with_a_card_opens_and_says_what_the_run_knows(trained, tmp_path, capsys):
    assert run(["export", str(trained), "--out", str(tmp_path / "novel")]) == 0
    card = (tmp_path / "novel/README.md").read_text(encoding="utf-8")
    entry = json.loads((trained / "metrics.jsonl").read_text().splitlines()[-1])
    for fact in ("# novel", "trained on `fox.txt`", "layers, heads, width | 1, 1, 32",
                 f"{entry['val_loss']:.4f} nats", "library_name: transformers",
                 'from_pretrained("novel")', "What it writes"):  # fmt: skip
        assert fact in card, fact
    model, _ = from_pretrained(tmp_path / "novel")
    again, _ = from_pretrained(trained)
    for (name, a), (_, b) in zip(model.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert run(["export", str(trained), "--out", str(tmp_path / "novel")]) == 0  # ours: replaced
    (tmp_path / "novel/README.md").write_text(card + "mine\n", encoding="utf-8")
    assert run(["export", str(trained), "--out", str(tmp_path / "novel")]) == 2
    assert (tmp_path / "novel/README.md").read_text(encoding="utf-8").endswith("mine\n")
    (tmp_path / "novel/README.md").write_text(card, encoding="utf-8")
    (tmp_path / "novel/mine.txt").write_text("x", encoding="utf-8")
    assert run(["export", str(trained), "--out", str(tmp_path / "novel")]) == 2
    assert "what minigpt2 did not write" in capsys.readouterr().err


def test_an_adapter_is_exported_as_one_or_merged(tiny, tokenizer, tmp_path, capsys):
    save_pretrained(tiny, tokenizer, tmp_path / "base-model")
    add_lora(tiny, 2, 4.0)
    save_pretrained(tiny, tokenizer, tmp_path / "a", base=str(tmp_path / "base-model"))
    assert run(["export", str(tmp_path / "a"), "--out", str(tmp_path / "b")]) == 0
    assert (tmp_path / "b/adapter_config.json").exists()
    assert "library_name: peft" in (tmp_path / "b/README.md").read_text(encoding="utf-8")
    assert "export with --merge" in capsys.readouterr().err
    assert run(["export", str(tmp_path / "a"), "--merge", "--out", str(tmp_path / "c")]) == 0
    assert (tmp_path / "c/model.safetensors").exists()


def test_a_file_export_replaces_nothing_but_its_like(trained, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exports, "check_gguf", lambda *arguments: None)
    assert run(["export", str(trained), "--format", "gguf"]) == 0
    assert [path.name for path in tmp_path.iterdir()] == ["fox-export.gguf"]
    assert "not checked: llama-cpp-python is not installed" in capsys.readouterr().err
    assert run(["export", str(trained), "--format", "gguf"]) == 0
    (tmp_path / "mine.gguf").write_text("mine", encoding="utf-8")
    assert run(["export", str(trained), "--format", "gguf", "--out", "mine.gguf"]) == 2
    assert (tmp_path / "mine.gguf").read_text(encoding="utf-8") == "mine"
    (tmp_path / "novel.txt").write_text("mine", encoding="utf-8")
    assert run(["export", str(trained), "--format", "gguf", "--out", "novel.txt"]) == 2
    assert (tmp_path / "novel.txt").read_text(encoding="utf-8") == "mine"
    assert run(["export", str(trained), "--type", "f16"]) == 2


def test_a_check_that_gets_no_numbers_is_no_agreement(monkeypatch, tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")

    class Broken:
        def __init__(self, *arguments, **settings):
            pass

        def run(self, names, given):
            return [np.full((1, given["input_ids"].shape[1], 5), np.nan, np.float32)]

    monkeypatch.setattr(onnxruntime, "InferenceSession", Broken)
    with pytest.raises(MiniGPT2Error, match="away from ours"):
        exports.check_onnx(GPT2(GPT2Config(5, 8, 1, 1, 20)).eval(), tmp_path / "m", [1])


def test_a_failed_check_leaves_no_file(trained, tmp_path, monkeypatch, capsys):
    def disagree(*arguments):
        raise MiniGPT2Error("llama.cpp's logits are elsewhere")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(exports, "check_gguf", disagree)
    assert run(["export", str(trained), "--format", "gguf"]) == 1
    assert not list(tmp_path.iterdir()) and "elsewhere" in capsys.readouterr().err


def test_a_bigram_has_no_such_file(tokenizer, tmp_path, capsys):
    save_pretrained(Bigram(BigramConfig(29, 13)), tokenizer, tmp_path / "b")
    assert run(["export", str(tmp_path / "b"), "--format", "gguf"]) == 65
    assert "a bigram cannot become gguf" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(29, 13, 2, 3, 21), (257, 64, 3, 4, 64)])
def test_onnx_gives_our_logits_at_any_size(shape, tmp_path):
    pytest.importorskip("onnxruntime")
    torch.manual_seed(3)
    model = GPT2(GPT2Config(*shape)).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    exports.export_onnx(model, tmp_path / "m.onnx")
    assert "agrees" in exports.check_onnx(model, tmp_path / "m.onnx", [1])
    import onnxruntime

    session = onnxruntime.InferenceSession(str(tmp_path / "m.onnx"))
    for size in ((1, 1), (3, 11), (5, shape[1])):
        tokens = torch.randint(shape[0], size)
        [theirs] = session.run(["logits"], {"input_ids": tokens.numpy()})
        np.testing.assert_allclose(theirs, model(tokens).detach().numpy(), atol=1e-4)
    model.h[0].attn.c_proj.weight.data.mul_(1.5)
    with pytest.raises(MiniGPT2Error, match="away from ours"):
        exports.check_onnx(model, tmp_path / "m.onnx", [1])


@pytest.mark.slow
def test_the_command_writes_onnx_and_checks_it(trained, tmp_path, capsys):
    pytest.importorskip("onnxruntime")
    out = tmp_path / "m.onnx"
    assert run(["export", str(trained), "--format", "onnx", "--out", str(out)]) == 0
    told = capsys.readouterr()
    assert "onnxruntime" in told.err and "agrees" in told.err and not told.out
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


ALLOWED = {"f32": 1e-3, "f16": 1e-3, "bf16": 1e-3, "q8_0": 1e-2}  # of perplexity


@pytest.mark.peers
@pytest.mark.parametrize("name", ["char", "byte", "bpe:300"])
def test_llama_cpp_runs_a_trained_model_as_we_do(name, tmp_path):
    """Same ids, same greedy tokens in f32, perplexity within 0.1 % in bf16 and 1 % in q8_0."""
    llama_cpp = pytest.importorskip("llama_cpp")
    from tests.generation.test_engine import written

    from minigpt2.data import open_dataset
    from minigpt2.data.sources import read_text
    from minigpt2.generation import Sampling

    text = "".join(c for c in read_text("shakespeare")[:200_000] if ord(c) < 128)
    (tmp_path / "plays.txt").write_text(text, encoding="utf-8")
    line = ["--model.n-layer", "3", "--model.n-head", "4", "--model.n-embd", "128",
            "--model.block-size", "64", "--training.max-steps", "400",
            "--training.eval-interval", "400", "--training.learning-rate", "5e-3",
            "--training.schedule", "wsd"]  # fmt: skip
    run_dir = tmp_path / "run"
    arguments = ["train", str(tmp_path / "plays.txt"), "--data.tokenizer", name]
    assert run([*arguments, "--out", str(run_dir), *line]) == 0
    model, tokenizer = from_pretrained(run_dir)
    val = open_dataset(run_dir / "data").val
    ids = val.read(0, len(val))[: 64 * 40 + 1]

    def engine(type):
        path = tmp_path / f"{type}.gguf"
        exports.export_gguf(model, tokenizer, path, type)
        return llama_cpp.Llama(
            str(path), n_ctx=64, n_batch=64, logits_all=True, verbose=False,
            type_k=llama_cpp.GGML_TYPE_F32, type_v=llama_cpp.GGML_TYPE_F32,
        )  # fmt: skip

    def loss(engine):
        total = 0.0
        for start in range(0, len(ids) - 1, 64):
            window = ids[start : start + 65].tolist()
            engine.reset()
            engine.eval(window[:-1])
            logits = torch.from_numpy(np.array(engine.scores[: len(window) - 1]))
            total += torch.nn.functional.cross_entropy(
                logits[:, : model.config.vocab_size].float(), torch.tensor(window[1:]),
                reduction="sum",
            ).item()  # fmt: skip
        return total / (len(ids) - 1)

    full = engine("f32")
    sample = "ROMEO:\nWhat, shall I be thy 12 friend?"
    sample = "".join(c for c in sample if c in text)
    assert full.tokenize(sample.encode(), add_bos=False) == tokenizer.encode(sample)
    prompt = tokenizer.encode("ROMEO:\n")
    ours = written(model, prompt, Sampling(40, 0.0))
    theirs, context = [], list(prompt)
    while len(theirs) < 40:
        full.reset()
        full.eval(context)
        theirs.append(int(np.argmax(full.scores[len(context) - 1][: model.config.vocab_size])))
        context.append(theirs[-1])
    assert theirs == ours
    windows = [ids[start : start + 65] for start in range(0, len(ids) - 1, 64)]
    measured = sum(
        model(torch.tensor(w[None, :-1]), torch.tensor(w[None, 1:])).item() * (len(w) - 1)
        for w in windows
    ) / (len(ids) - 1)
    perplexity = np.exp(measured)
    theirs = {kind: np.exp(loss(full if kind == "f32" else engine(kind))) for kind in ALLOWED}
    shares = ", ".join(f"{kind} {theirs[kind] / perplexity - 1:+.4%}" for kind in ALLOWED)
    print(f"\n{name}: {len(ours)} greedy tokens equal; perplexity {perplexity:.4f}, there {shares}")
    for kind, share in ALLOWED.items():
        assert theirs[kind] == pytest.approx(perplexity, rel=share), kind
