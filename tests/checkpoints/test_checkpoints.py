"""A checkpoint is whole or not there, is verified before it is believed, and opens again equal."""

import json
import os
import stat
from pathlib import Path

import pytest
import torch

from minigpt2 import files, from_pretrained, save_pretrained
from minigpt2.checkpoints import RunDirectory, load_checkpoint, verify
from minigpt2.errors import DataError, InputMissingError, StorageError, UsageError
from minigpt2.interop import resolve_model
from minigpt2.interop.opening import PRETRAINED
from minigpt2.model import ATTENTION, GPT2, Bigram, BigramConfig, Block, set_attention
from minigpt2.tokenizers import ByteTokenizer

FILES = ["config.json", "model.safetensors", "tokenizer.json", "state.json", "manifest.json"]


def save_steps(run, model, tokenizer, steps, best, keep=2):
    for step in steps:
        numbers = {"step": step, "best_step": best}
        progress = (numbers, {"exp_avg/wte.weight": torch.ones(3)})
        run.save(model, tokenizer, progress, keep)


@pytest.fixture
def run(tmp_path, tiny, tokenizer):
    run = RunDirectory(tmp_path / "run")
    save_steps(run, tiny, tokenizer, [10, 20], best=10)
    return run


def said(lines):
    return lambda line: lines.append(line)


def test_a_model_opens_again_bit_for_bit(tiny, tokenizer, tmp_path):
    save_pretrained(tiny, tokenizer, tmp_path / "m")
    again, _ = from_pretrained(tmp_path / "m")
    for (name, a), (_, b) in zip(tiny.named_parameters(), again.named_parameters(), strict=True):
        assert torch.equal(a, b), name
    assert again.config == tiny.config and not again.training


def test_a_bigram_says_what_it_is_and_opens_again(tokenizer, tmp_path):
    model = Bigram(BigramConfig(29, 13))
    model.table.data.normal_()
    save_pretrained(model, tokenizer, tmp_path / "m")
    assert json.loads((tmp_path / "m/config.json").read_text())["model_type"] == "minigpt2-bigram"
    again, _ = from_pretrained(tmp_path / "m")
    assert torch.equal(again.table, model.table)


def test_a_variant_never_claims_to_be_gpt2(tiny, tokenizer, tmp_path):
    class Other(Block):
        pass

    save_pretrained(GPT2(tiny.config, block=Other), tokenizer, tmp_path / "m")
    assert json.loads((tmp_path / "m/config.json").read_text())["model_type"] != "gpt2"
    with pytest.raises(DataError, match="model_type"):
        from_pretrained(tmp_path / "m")


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("damage", ["flip", "truncate", "remove"])
def test_a_damaged_file_is_named_and_the_previous_checkpoint_used(run, name, damage):
    folder = run.path / "step-00000020"
    raw = bytearray((folder / name).read_bytes())
    raw[len(raw) // 2] ^= 8
    if damage == "remove":
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(raw if damage == "flip" else raw[: len(raw) // 2])
    lines = []
    assert run.latest(said(lines)).name == "step-00000010"
    assert len(lines) == 1 and "step-00000020" in lines[0]
    assert name in lines[0] or name == "manifest.json"
    with pytest.raises((DataError, InputMissingError)):
        load_checkpoint(folder)


def test_best_is_not_latest(run):
    assert resolve_model(str(run.path), said([])).name == "step-00000010"
    assert run.latest(said([])).name == "step-00000020"
    assert files.pointed(run.path / "best").name == "step-00000010"
    assert files.pointed(run.path / "latest").name == "step-00000020"


def test_rotation_keeps_the_last_and_the_best(run, tiny, tokenizer):
    save_steps(run, tiny, tokenizer, [30, 40, 50], best=10)
    assert [path.name for path in run.checkpoints()] == [
        "step-00000010", "step-00000040", "step-00000050"
    ]  # fmt: skip


def test_folders_that_only_look_like_checkpoints_are_left_alone(run, tiny, tokenizer):
    (run.path / "step-by-step").mkdir()
    run.rewind(0)
    assert run.checkpoints() == [] and (run.path / "step-by-step").is_dir()


def test_a_kill_between_the_two_renames_loses_nothing_but_the_name(tmp_path, tiny, tokenizer):
    save_pretrained(tiny, tokenizer, tmp_path / "m")
    with pytest.raises(KeyboardInterrupt), files.new_directory(tmp_path / "m") as temporary:
        assert (tmp_path / "m" / "model.safetensors").is_file()
        (temporary / "half").write_text("x")
        raise KeyboardInterrupt
    assert verify(tmp_path / "m") is None


def test_a_folder_of_other_things_is_not_replaced(tmp_path, tiny, tokenizer):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "precious.txt").write_text("x")
    with pytest.raises(UsageError, match="what minigpt2 did not write"):
        save_pretrained(tiny, tokenizer, tmp_path / "mine")
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["precious.txt"]


def test_an_attention_of_ones_own_never_claims_to_be_gpt2(tiny, tokenizer, tmp_path):
    own = lambda q, k, v, dropout: v  # noqa: E731
    tiny.h[1].attn.attend = own
    set_attention(tiny, ATTENTION["explicit"])
    assert tiny.h[1].attn.attend is own
    save_pretrained(tiny, tokenizer, tmp_path / "m")
    assert json.loads((tmp_path / "m/config.json").read_text())["model_type"] != "gpt2"


def test_a_failed_save_leaves_the_old_checkpoint(run, tiny, tokenizer, monkeypatch):
    calls = []

    def full(path, content):
        calls.append(path)
        if len(calls) == 4:
            raise OSError(28, "No space left on device")
        return write(path, content)

    write = Path.write_bytes
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(StorageError, match="disk is full"):
        save_steps(run, tiny, tokenizer, [30], best=10)
    assert run.latest(said([])).name == "step-00000020"
    assert not list(run.path.glob(".tmp-*"))


def test_what_a_killed_writer_left_is_swept_and_the_log_cut(run):
    (run.path / ".tmp-step-00000030-123").mkdir()
    (run.path / ".tmp-of-mine").mkdir()
    (run.path / ".tmp-latest-123").write_text("x")
    for step in (10, 20, 30):
        run.log({"step": step})
        run.log_sample(step, f"text {step}")
    with run.metrics_path.open("ab") as file:
        file.write(b'{"step": 4')
    run.rewind(20)
    assert [entry["step"] for entry in run.read_log()] == [10, 20]
    assert (run.path / ".tmp-of-mine").is_dir()
    assert run.samples_path.read_text().endswith("text 20\n\n")
    assert [path.name for path in run.path.glob(".tmp-*")] == [".tmp-of-mine"]


def test_files_have_the_umask_s_permissions(run):
    previous = os.umask(0)
    os.umask(previous)
    mode = stat.S_IMODE((run.path / "step-00000010/model.safetensors").stat().st_mode)
    assert os.name == "nt" or mode == 0o666 & ~previous


def test_without_links_a_text_file_points(tmp_path, monkeypatch):
    (tmp_path / "step-1").mkdir()

    def refuse(*args, **kwargs):
        raise OSError("no links here")

    monkeypatch.setattr("pathlib.Path.symlink_to", refuse)
    files.point(tmp_path / "latest", "step-1")
    assert not (tmp_path / "latest").is_symlink()
    assert files.pointed(tmp_path / "latest") == tmp_path / "step-1"
    (tmp_path / "step-1" / "config.json").write_text("{}")
    assert resolve_model(str(tmp_path / "latest"), said([])) == tmp_path / "step-1"


def test_a_pointer_out_of_the_run_is_not_followed(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "best").write_text("../elsewhere")
    (tmp_path / "elsewhere").mkdir()
    assert files.pointed(tmp_path / "run" / "best") is None


def test_missing_extra_and_misshaped_tensors_are_all_listed(tiny, tokenizer, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "m"
    save_pretrained(tiny, tokenizer, folder)
    (folder / "manifest.json").unlink()
    tensors = load_file(folder / "model.safetensors")
    del tensors["transformer.ln_f.bias"]
    tensors["transformer.more"] = torch.ones(1)
    tensors["transformer.h.1.mlp.c_fc.weight"] = torch.ones(2, 3)
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(DataError) as error:
        from_pretrained(folder)
    for part in ("missing ln_f.bias", "unexpected more", "misshaped h.1.mlp.c_fc.weight"):
        assert part in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"),
    [("n_layer", 10**9), ("n_layer", -1), ("n_head", 0), ("n_head", 5), ("n_embd", "x"),
     ("vocab_size", 0), ("vocab_size", None), ("n_positions", 10**30), ("vocab_size", 30)],
)  # fmt: skip
def test_a_config_json_with_other_sizes_is_a_data_error(tiny, tokenizer, tmp_path, field, value):
    folder = tmp_path / "m"
    save_pretrained(tiny, tokenizer, folder)
    (folder / "manifest.json").unlink()
    tree = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(tree | {field: value}))
    with pytest.raises(DataError):
        from_pretrained(folder)


def test_released_names_without_prefix_and_with_masks_open(tiny, tokenizer, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = tmp_path / "m"
    save_pretrained(tiny, tokenizer, folder)
    (folder / "manifest.json").unlink()
    tensors = load_file(folder / "model.safetensors")
    tensors = {name.removeprefix("transformer."): value for name, value in tensors.items()}
    tensors["h.0.attn.bias"] = torch.ones(1, 1, 13, 13)
    save_file(tensors, folder / "model.safetensors")
    again, _ = from_pretrained(folder)
    assert torch.equal(again.h[1].attn.c_proj.weight, tiny.h[1].attn.c_proj.weight)


def test_a_tokenizer_that_does_not_fit_is_refused(tiny, tmp_path):
    save_pretrained(tiny, ByteTokenizer(), tmp_path / "m")
    with pytest.raises(DataError, match="256 ids, the model only 29"):
        from_pretrained(tmp_path / "m")


def test_a_pickle_is_refused_in_one_line(tmp_path):
    (tmp_path / "ckpt.pt").write_bytes(b"\x80\x04")
    with pytest.raises(DataError, match="minigpt2 import"):
        resolve_model(str(tmp_path / "ckpt.pt"), said([]))


def test_a_name_that_is_nothing_names_the_runs_there_are(tmp_path):
    lines = []
    assert resolve_model(None, said(lines), tmp_path / "runs") == PRETRAINED
    assert "minigpt2 train" in lines[0]
    with pytest.raises(InputMissingError, match="minigpt2 train"):
        resolve_model("nothing", said([]), tmp_path / "runs")
    (tmp_path / "runs/a").mkdir(parents=True)
    (tmp_path / "runs/a/config.yaml").write_text("")
    with pytest.raises(InputMissingError, match=r"runs here: .*runs.a"):
        resolve_model("nothing", said([]), tmp_path / "runs")


def test_a_lying_safetensors_header_is_a_data_error(tiny, tokenizer, tmp_path):
    folder = tmp_path / "m"
    save_pretrained(tiny, tokenizer, folder)
    (folder / "manifest.json").unlink()
    (folder / "model.safetensors").write_bytes(b"\xff" * 8 + b"{}")
    with pytest.raises(DataError, match=r"model\.safetensors"):
        from_pretrained(folder)


def test_verify_says_nothing_of_a_whole_checkpoint(run):
    assert verify(run.path / "step-00000010") is None
