"""nanoGPT's and other pickled checkpoints: imported exactly, and never able to run anything."""

import json
import pickle
import subprocess
import sys
import zipfile

import pytest
import torch

transformers = pytest.importorskip("transformers")

from minigpt2 import from_pretrained  # noqa: E402
from minigpt2.__main__ import run  # noqa: E402
from minigpt2.errors import ConfigError, DataError, InputMissingError  # noqa: E402
from minigpt2.interop.pickled import import_pickled  # noqa: E402

LETTERS = "abcdefghijklmnopqrstuvwxyz \n."
TOKENS = torch.randint(29, (5, 11), generator=torch.Generator().manual_seed(1))


@pytest.fixture
def theirs():
    """The oracle: transformers, with the exact GELU that nanoGPT has."""
    config = transformers.GPT2Config(
        vocab_size=29, n_positions=13, n_embd=21, n_layer=2, n_head=3,
        activation_function="gelu", bos_token_id=1, eos_token_id=1,
    )  # fmt: skip
    torch.manual_seed(5)
    model = transformers.GPT2LMHeadModel(config).eval()
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn_like(parameter)
    return model


def nanogpt(model, bias=True, compiled=True):
    """Lay out transformers' weights as nanoGPT's train.py writes them."""
    state = {}
    for name, value in model.state_dict().items():
        if name.startswith("transformer.h.") and value.dim() == 2:
            value = value.t().contiguous()  # Conv1D to Linear
        if bias or not name.endswith(".bias"):
            state[("_orig_mod." if compiled else "") + name] = value
    arguments = {"n_layer": 2, "n_head": 3, "n_embd": 21, "block_size": 13, "bias": bias,
                 "vocab_size": 29, "dropout": 0.0}  # fmt: skip
    moments = {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}
    return {"model": state, "model_args": arguments, "optimizer": moments, "iter_num": 7,
            "best_val_loss": torch.tensor(1.5), "config": {"out_dir": "out"}}  # fmt: skip


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("bias", [True, False])
def test_a_nanogpt_checkpoint_gives_the_same_logits(theirs, tmp_path, bias, compiled):
    if not bias:
        for name, parameter in theirs.named_parameters():
            if name.endswith(".bias"):
                parameter.data.zero_()
    torch.save(nanogpt(theirs, bias, compiled), tmp_path / "ckpt.pt")
    import_pickled(tmp_path / "ckpt.pt", tmp_path / "m", text=LETTERS * 3)
    ours, tokenizer = from_pretrained(tmp_path / "m")
    torch.testing.assert_close(ours(TOKENS), theirs(TOKENS).logits, atol=1e-5, rtol=0)
    assert ours.config.activation_function == "gelu"
    assert tokenizer.decode(tokenizer.encode("fox.\n")) == "fox.\n"
    again = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "m").eval()
    torch.testing.assert_close(again(TOKENS).logits, theirs(TOKENS).logits, atol=1e-5, rtol=0)


def test_a_pickled_hugging_face_directory_imports_too(theirs, tokenizer, tmp_path):
    from minigpt2.tokenizers import tokenizer_files

    theirs.config.save_pretrained(tmp_path)
    halves = list(theirs.state_dict().items())
    torch.save(dict(halves[:9]), tmp_path / "pytorch_model-00001-of-00002.bin")
    torch.save(dict(halves[9:]), tmp_path / "pytorch_model-00002-of-00002.bin")
    for name, content in tokenizer_files(tokenizer, 13).items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputMissingError, match=f"minigpt2 import {tmp_path} --out DIR"):
        from_pretrained(tmp_path)
    import_pickled(tmp_path, tmp_path / "m")
    ours, _ = from_pretrained(tmp_path / "m")
    torch.testing.assert_close(ours(TOKENS), theirs(TOKENS).logits, atol=1e-5, rtol=0)


def test_the_command_imports_and_a_pickle_as_model_names_it(theirs, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    torch.save(nanogpt(theirs), "ckpt.pt")
    (tmp_path / "text.txt").write_text(LETTERS, encoding="utf-8")
    assert run(["generate", "ckpt.pt"]) == 65
    line = capsys.readouterr().err
    assert "minigpt2 import ckpt.pt --out imported" in line
    assert run(["import", "ckpt.pt", "--out", "imported", "--text", "text.txt"]) == 0
    assert run(["generate", "imported", "--prompt", "fox", "--max-new-tokens", "5"]) == 0
    assert capsys.readouterr().out.startswith("fox")


def test_what_does_not_fit_is_told(theirs, tmp_path):
    path, out = tmp_path / "ckpt.pt", tmp_path / "m"

    def told(tree, match, kind=DataError, **how):
        torch.save(tree, path)
        with pytest.raises(kind, match=match):
            import_pickled(path, out, **{"text": LETTERS, **how})
        assert not out.exists()

    tree = nanogpt(theirs)
    told(tree, "28 characters and the model 29", text=LETTERS[1:])
    told(tree, "vocabulary of 29 ids is not GPT-2's", ConfigError, text=None)
    told({**tree, "model_args": {**tree["model_args"], "n_head": 4}}, "n_embd 21 is not a multiple")
    told({**tree, "model_args": {}}, "no model configuration")
    told({**tree, "model_args": 3}, "must be dictionaries")
    told({**tree, "model": {"wte": "x"}}, "wte is no plain tensor")
    del tree["model"]["_orig_mod.transformer.wte.weight"]
    told(tree, "missing wte.weight")
    tree = nanogpt(theirs)
    del tree["model"]["_orig_mod.transformer.h.1.ln_1.bias"]
    told(tree, r"missing h\.1\.ln_1\.bias")
    tree = nanogpt(theirs)
    tree["model"]["_orig_mod.lm_head.weight"] = torch.ones(29, 21)
    told(tree, "only tied heads")
    tree = nanogpt(theirs)
    tree["model"]["_orig_mod.transformer.ln_f.bias"] = torch.ones(21).to_sparse()
    told(tree, "no plain tensor")
    told(nanogpt(theirs), "vocabulary of 29", ConfigError, text=None, tokenizer="char")
    told({"weights": torch.ones(2)}, "lacks model_args")
    told([torch.ones(2)], "not a dictionary")
    with pytest.raises(InputMissingError):
        import_pickled(tmp_path / "nothing.pt", out)


class Evil:
    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


def hostile_files(folder):
    """Write pickles that would run something, in every form torch reads."""
    marker = folder / "it-ran"
    payloads = {
        "system": Evil(__import__("os").system, f"touch {marker}"),
        "exec": Evil(exec, f"open({str(marker)!r}, 'w').close()"),
        "getattr": Evil(getattr, "x", "upper"),
        "popen": Evil(subprocess.Popen, ["touch", str(marker)]),
    }
    for name, payload in payloads.items():
        tree = {"model_args": {}, "model": {"x": payload}}
        torch.save(tree, folder / f"{name}-zip.pt")
        (folder / f"{name}-plain.pt").write_bytes(pickle.dumps(tree))
        torch.save(tree, folder / f"{name}-old.pt", _use_new_zipfile_serialization=False)
    (folder / "recursion.pt").write_bytes(b"(" * 100_000 + b".")
    (folder / "empty.pt").write_bytes(b"")
    (folder / "text.pt").write_bytes(b"hello " * 9)
    with zipfile.ZipFile(folder / "bomb.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(payloads["system"]))
        archive.writestr("archive/data/0", bytes(50 << 20))
    return sorted(folder.glob("*.pt")), marker


AUDITED = """
import sys
from minigpt2.__main__ import run
import torch, minigpt2.interop.pickled, minigpt2.checkpoints
seen = []
def watch(event, arguments):
    if event in ("os.system", "subprocess.Popen", "os.exec", "os.posix_spawn", "os.fork"):
        seen.append((event, str(arguments)[:200]))
    if event == "open" and "it-ran" in str(arguments):
        seen.append((event, str(arguments)[:200]))
sys.addaudithook(watch)
codes = []
for path in sys.argv[1:]:
    codes.append(run(["import", path, "--out", path + ".out"]))
    codes.append(run(["generate", path]))
print(codes, seen)
"""


def test_a_pickle_that_would_run_code_runs_nothing(tmp_path):
    paths, marker = hostile_files(tmp_path)
    result = subprocess.run(
        [sys.executable, "-c", AUDITED, *map(str, paths)],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    codes, seen = result.stdout.rsplit("] [", 1)
    assert seen.strip() == "]", seen
    assert set(json.loads(codes + "]")) == {65}, result.stderr
    assert not marker.exists() and not list(tmp_path.glob("*.out"))
    assert "posix.system" in result.stderr or "nt.system" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_watch_sees_what_a_real_unpickler_would_do(tmp_path):
    """The guard guarded: the same files, given to pickle itself, do run."""
    paths, marker = hostile_files(tmp_path)
    plain = next(path for path in paths if path.name == "exec-plain.pt")
    pickle.loads(plain.read_bytes())
    assert marker.exists()
