"""The command line as its users meet it: results, bad input, exit codes, one clear line each."""

import io
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors import SafetensorError
from safetensors.torch import save_file

from minigpt2.__main__ import run
from minigpt2.checkpoints import RunDirectory

QUICK = ["--model.n-layer", "1", "--model.n-head", "3", "--model.n-embd", "21",
         "--model.block-size", "13", "--training.batch-size", "5", "--training.max-steps", "8",
         "--training.eval-interval", "4", "--training.dtype", "float32",
         "--training.attention", "explicit"]  # fmt: skip


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run, made once; tests copy it."""
    folder = tmp_path_factory.mktemp("trained")
    (folder / "fox.txt").write_text("the quick brown fox jumps over the lazy dog.\n" * 60)
    assert run(["train", str(folder / "fox.txt"), "--out", str(folder / "run"), *QUICK]) == 0
    return folder / "run"


@pytest.fixture
def a_run(trained, tmp_path):
    shutil.copytree(trained, tmp_path / "runs" / "fox", symlinks=True)
    return tmp_path / "runs" / "fox"


def one_line(capsys, part):
    """The one line on stderr that says what went wrong; nothing of a traceback."""
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("minigpt2:")]
    assert len(lines) == 1 and part in lines[0], err
    assert "Traceback" not in err
    return lines[0]


def test_training_ends_with_loss_sample_curve_and_next_commands(text_file, capsys):
    assert run(["train", str(text_file), "--out", "r", *QUICK]) == 0
    out, err = capsys.readouterr()
    assert "validation loss" in out and "bigram table reaches" in out and "what it writes" in out
    assert "minigpt2 chat r" in out and "minigpt2 generate r" in out
    assert "plan: " in err and "validation loss" in err
    for name in ("loss.png", "samples.txt", "metrics.jsonl", "config.yaml", "run.json"):
        assert (RunDirectory(text_file.parent / "r").path / name).stat().st_size > 0, name


def test_the_same_command_again_says_it_is_finished(a_run, capsys):
    assert run(["train", "--out", str(a_run)]) == 0
    assert "is finished at step 8" in capsys.readouterr().err
    assert run(["train", "--out", str(a_run), "--resume", "never"]) == 2
    one_line(capsys, "already holds a run")
    assert run(["train", "--out", str(a_run), "--training.max-steps", "9"]) == 0


def test_a_changed_value_is_refused_by_name(a_run, capsys):
    assert run(["train", "--out", str(a_run), "--model.n-embd", "24"]) == 2
    one_line(capsys, "model.n_embd (21 there, 24 here)")


BAD_TEXTS = {
    "empty": (b"", 65, "holds 0 characters"),
    "one": (b"a", 65, "1 character"),
    "short": (b"too short", 65, "1 tokens, and 2 are needed"),
    "window": (b"short text 2", 65, "fewer than one window"),
    "binary": (bytes(range(256)), 65, "binary"),
    "latin": ("café".encode("latin-1") * 99, 65, "not UTF-8: byte 0xe9 at offset 3"),
}


@pytest.mark.parametrize("kind", BAD_TEXTS)
def test_bad_text_gets_one_clear_line(tmp_path, capsys, kind):
    content, code, part = BAD_TEXTS[kind]
    (tmp_path / "x.txt").write_bytes(content)
    assert run(["train", "x.txt", "--out", "r", *QUICK]) == code
    one_line(capsys, part)


def test_repaired_text_trains_and_says_what_was_repaired(tmp_path, capsys):
    (tmp_path / "x.txt").write_bytes(b"\xef\xbb\xbf" + b"one two three\r\n" * 60)
    assert run(["train", "x.txt", "--out", "r", *QUICK]) == 0
    err = capsys.readouterr().err
    assert "byte order mark dropped" in err and "60 Windows or old Mac line ends" in err


def test_missing_text_and_directory(tmp_path, capsys):
    assert run(["train", "nowhere.txt"]) == 66
    one_line(capsys, "no file, folder or data set nowhere.txt")
    (tmp_path / "folder").mkdir()
    assert run(["train", "folder"]) == 66
    one_line(capsys, "folder holds no text")


def test_three_mistakes_in_a_config_are_three_lines(tmp_path, capsys):
    (tmp_path / "c.yaml").write_text("model: {n_layr: 4}\ntraining: {seed: x, beta1: 7}")
    assert run(["train", "--config", "c.yaml"]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("minigpt2: c.yaml: ") for line in lines)
    assert run(["train", "--config", "none.yaml"]) == 66


def test_the_default_configuration_without_its_gpu_ends_with_69(tmp_path, capsys):
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    (tmp_path / "input.txt").write_text("some text\n" * 100)
    default = Path(__file__).parents[2] / "config/default_config.yaml"
    text = default.read_text(encoding="utf-8").replace("device: auto", "device: cuda")
    (tmp_path / "c.yaml").write_text(text)
    assert run(["train", "--config", "c.yaml"]) == 69
    assert "--training.device auto" in one_line(capsys, "no such CUDA device")


def test_wrong_options_end_with_2(capsys):
    for arguments, part in [
        (["trian"], 'Did you mean "train"'),
        (["train", "--training.max-step", "4"], "--training.max-steps"),
        (["train", "--resume", "maybe"], "maybe"),
        (["generate", "--n", "0"], "--n must be at least 1"),
        (["generate", "--n", "1000000000000"], "--n must be at least 1"),
        (["train", "--training.batch-size", "1000000000000"], "must be at most"),
        (["generate", "--temperature", "-1"], "temperature must be from 0"),
        (["generate", "--temperature", "hot"], "hot"),
        (["train", "--preset", "huge"], "no preset 'huge'"),
        (["generate", "model", "hello"], "a prompt behind --prompt"),
    ]:
        assert run(arguments) == 2, arguments
        one_line(capsys, part)


def test_without_a_run_the_remedy_is_named(capsys):
    assert run(["report"]) == 66
    one_line(capsys, "minigpt2 train")
    assert run(["generate", "nothing"]) == 66
    one_line(capsys, "no run or model directory nothing")


def test_a_foreign_pickle_gets_one_clear_line(tmp_path, capsys):
    (tmp_path / "ckpt.pt").write_bytes(b"\x80\x04")
    assert run(["generate", "ckpt.pt"]) == 65
    one_line(capsys, "minigpt2 import ckpt.pt --out imported")


def test_generate_is_repeatable_and_says_which_model(a_run, capsys, tmp_path):
    line = ["generate", "--prompt", "the ", "--max-new-tokens", "30", "--seed", "5"]
    assert run(line) == 0
    first = capsys.readouterr()
    assert first.out.startswith("the ") and len(first.out) == 4 + 30 + 1
    assert f"runs{os.sep}fox{os.sep}step-" in first.err
    assert run([*line, "--out", "s.txt"]) == 0
    assert (tmp_path / "s.txt").read_text(encoding="utf-8") == first.out
    capsys.readouterr()
    assert run([*line, "--n", "2"]) == 0
    samples = capsys.readouterr().out
    assert samples.startswith(f"--- sample 1 ---\n{first.out}--- sample 2 ---\nthe ")


def test_generate_stops_where_told(a_run, capsys):
    base = ["generate", str(a_run), "--prompt", "the", "--max-new-tokens", "200"]
    assert run([*base, "--stop-at-newline"]) == 0
    assert capsys.readouterr().out.count("\n") == 1
    assert run([*base, "--stop", "e", "--stop", "o"]) == 0
    assert not set("eo") & set(capsys.readouterr().out[3:])


def test_prompts_from_file_and_standard_input(a_run, tmp_path, capsys, monkeypatch):
    (tmp_path / "p.txt").write_text("lazy dog")
    base = ["generate", str(a_run), "--max-new-tokens", "0"]
    assert run([*base, "--prompt-file", "p.txt"]) == 0
    assert capsys.readouterr().out == "lazy dog\n"
    monkeypatch.setattr("sys.stdin", io.StringIO("lazy dog"))
    assert run([*base, "--prompt", "-"]) == 0
    assert capsys.readouterr().out == "lazy dog\n"
    assert run([*base, "--prompt-file", "none.txt"]) == 66
    assert run([*base, "--prompt-file", "p.txt", "--prompt", "a"]) == 2


def test_an_unknown_character_is_told_or_replaced(a_run, capsys):
    assert run(["generate", str(a_run), "--prompt", "the €"]) == 65
    one_line(capsys, "'€' (U+20AC) at position 4")
    line = ["generate", str(a_run), "--prompt", "the €", "--unknown", " ", "--max-new-tokens", "1"]
    assert run(line) == 0


def test_eval_agrees_with_training_and_writes_into_the_run(a_run, capsys, text_file):
    assert run(["eval", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    best = min(entry["val_loss"] for entry in RunDirectory(a_run).read_log() if "val_loss" in entry)
    assert result["loss"] == pytest.approx(best, abs=1e-6)
    assert {"loss", "perplexity", "bits_per_byte", "window", "stride", "tokens"} <= result.keys()
    [kept] = (a_run / "evaluations").iterdir()
    assert json.loads(kept.read_text())["loss"] == result["loss"]
    assert run(["eval", str(a_run), "--data", str(text_file), "--split", "all", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["tokens"] == 45 * 60 - 1
    assert run(["eval", str(a_run), "--stride", "5", "--out", "e.json"]) == 0
    assert "windows of 13, stride 5" in capsys.readouterr().out
    assert run(["eval", str(a_run), "--window", "14"]) == 2
    capsys.readouterr()
    assert run(["eval", str(a_run), "--split", "all", "--json"]) == 0  # the text itself is gone
    assert json.loads(capsys.readouterr().out)["tokens"] == 45 * 60 - 1


def test_eval_s_window_is_the_one_of_training(text_file, capsys):
    line = ["train", str(text_file), "--out", "r", *QUICK, "--training.sequence-length", "7"]
    assert run(line) == 0
    best = min(e["val_loss"] for e in RunDirectory(Path("r")).read_log() if "val_loss" in e)
    capsys.readouterr()
    assert run(["eval", "r", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["window"] == 7 and result["loss"] == pytest.approx(best, abs=1e-6)


def test_bits_per_byte_of_a_byte_model_are_its_loss_in_bits(text_file, capsys):
    assert run(["train", str(text_file), "--out", "r", *QUICK, "--data.tokenizer", "byte"]) == 0
    capsys.readouterr()
    assert run(["eval", "r", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["bits_per_byte"] == pytest.approx(result["loss"] / math.log(2))


def test_a_resumed_run_takes_its_own_values_for_checks(text_file):
    line = ["train", str(text_file), "--out", "r", *QUICK, "--training.batch-size", "40"]
    assert run(line) == 0
    more = ["--training.micro-batch-size", "32", "--training.max-steps", "9"]
    assert run(["train", "--out", "r", *more]) == 0


def test_files_in_the_way_end_with_74_or_2(a_run, text_file, tmp_path, capsys):
    assert run(["train", str(text_file), "--out", str(text_file), *QUICK]) == 74
    one_line(capsys, "fox.txt")
    (tmp_path / "folder").mkdir()
    assert run(["generate", str(a_run), "--out", "folder"]) == 74
    one_line(capsys, "folder")
    assert text_file.read_text(encoding="utf-8").startswith("the quick")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="/dev/full is Linux")
def test_a_full_output_ends_with_74(a_run):
    with Path("/dev/full").open("w") as full:
        line = [sys.executable, "-m", "minigpt2", "generate", str(a_run)]
        result = subprocess.run(line, stdout=full, stderr=subprocess.PIPE, text=True)
    assert result.returncode == 74 and "No space left" in result.stderr


def test_any_text_can_be_shown_in_any_encoding(text_file, process):
    text_file.write_text("日本語 text and more\n" * 99, encoding="utf-8")
    environment = {**os.environ, "PYTHONIOENCODING": "cp1252"}
    line = ["train", str(text_file), "--out", "r", *QUICK, "--data.tokenizer", "byte"]
    training = process(*line, env=environment, encoding="cp1252")
    out, err = training.communicate(timeout=60)
    assert training.returncode == 0 and "minigpt2 chat r" in out, err


def test_report_makes_a_page_of_runs(a_run, tmp_path, capsys):
    shutil.copytree(a_run, tmp_path / "other", symlinks=True)
    assert run(["report", str(a_run), "other", "--out", "both"]) == 0
    assert Path(capsys.readouterr().out.strip()) == Path("both/index.html")
    assert (tmp_path / "both" / "loss.png").read_bytes().startswith(b"\x89PNG")
    page = (tmp_path / "both" / "index.html").read_text(encoding="utf-8")
    assert "fox" in page and "2 seeds" in page and "1 / 3 / 21 / 13" in page
    assert run(["report"]) == 0  # the newest under runs/
    assert (a_run / "report" / "index.html").is_file()


def test_doctor_tells_what_would_be_chosen(capsys):
    assert run(["doctor"]) == 0
    out = capsys.readouterr().out
    assert "GFLOP/s" in out and "plan, shakespeare-char" in out and "extra track" in out


def test_a_damaged_checkpoint_is_named(a_run, capsys):
    for folder in RunDirectory(a_run).checkpoints():
        (folder / "model.safetensors").write_bytes(b"x")
    assert run(["generate", str(a_run)]) == 65
    err = capsys.readouterr().err
    assert "model.safetensors has 1 bytes" in err and "no checkpoint that verifies" in err


def test_a_full_disk_ends_with_74_and_keeps_the_old_checkpoint(a_run, capsys, monkeypatch):
    def full(tensors, path, metadata):
        if path.name == "optimizer.safetensors":
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        save_file(tensors, path, metadata=metadata)

    monkeypatch.setattr("minigpt2.checkpoints.directory.save_file", full)
    before = RunDirectory(a_run).latest(print)
    capsys.readouterr()
    assert run(["train", "--out", str(a_run), "--training.max-steps", "20"]) == 74
    one_line(capsys, "disk is full")
    assert RunDirectory(a_run).latest(print) == before


WRONG_JSON = [b"", b"[]", b"5", b"null", b'{"files": 3}', b"[" * 20_000, b"1" * 5000, b"\xff{}"]


@pytest.mark.parametrize("name", ["run.json", "data/manifest.json", "data/tokenizer.json"])
def test_files_of_the_wrong_shape_are_told_in_one_line(a_run, capsys, name):
    for content in WRONG_JSON:
        (a_run / name).write_bytes(content)
        assert run(["train", "--out", str(a_run), "--training.max-steps", "9"]) == 65, content
        one_line(capsys, name.split("/")[-1])


def test_an_edited_plan_is_not_believed(a_run, capsys):
    path = a_run / "run.json"
    path.write_text(path.read_text().replace('"threads": 1', '"threads": -1'))
    assert run(["train", "--out", str(a_run), "--training.max-steps", "9"]) == 65
    one_line(capsys, "was altered")


def test_a_log_of_the_wrong_shape_is_told_and_survived(a_run, capsys):
    for content in (b"[]\n[]\n", b"5\n{}\n", b"\xff\n{}\n", b"[" * 20_000 + b"\n{}\n"):
        (a_run / "metrics.jsonl").write_bytes(content)
        assert run(["report", str(a_run)]) == 65
        one_line(capsys, "line 1 is damaged")
    assert run(["train", "--out", str(a_run), "--training.max-steps", "9"]) == 0
    assert [entry["step"] for entry in RunDirectory(a_run).read_log()] == [9]


def test_wrong_configuration_files_are_told_in_one_line(tmp_path, capsys):
    for content in (
        "[" * 5000,
        "model: {n_layer: " + "1" * 5000 + "}",
        'data: {input_file: "a\\0b"}',
    ):
        (tmp_path / "c.yaml").write_text(content)
        assert run(["train", "--config", "c.yaml"]) == 2, content
        one_line(capsys, "c.yaml")


def test_a_run_never_writes_over_files_of_others(text_file, tmp_path, capsys):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "loss.png").write_text("my picture")
    assert run(["train", str(text_file), "--out", "mine", *QUICK]) == 2
    one_line(capsys, "is no run")
    assert (tmp_path / "mine" / "loss.png").read_text() == "my picture"


def test_a_misspelt_variable_is_told(capsys, monkeypatch):
    monkeypatch.setenv("MINIGPT2_TRAINNG_SEED", "5")
    assert run(["train", "--print-config"]) == 2
    one_line(capsys, "training.seed")


def test_a_model_that_does_not_fit_is_told_so(text_file, capsys, monkeypatch):
    for error in (RuntimeError("DefaultCPUAllocator: can't allocate memory"), MemoryError()):
        monkeypatch.setattr("minigpt2.training.begin.build_model", raising(error))
        assert run(["train", str(text_file), "--out", "r", *QUICK]) == 1
        one_line(capsys, "not enough memory")


def raising(error):
    def raise_it(*args, **kwargs):
        raise error

    return raise_it


def test_a_truncated_config_of_a_run_is_not_believed(a_run, capsys):
    path = a_run / "config.yaml"
    path.write_bytes(path.read_bytes()[:300])
    before = path.read_bytes()
    assert run(["train", "--out", str(a_run), "--training.max-steps", "9"]) == 65
    one_line(capsys, "config.yaml")
    assert path.read_bytes() == before
    assert run(["eval", str(a_run)]) == 65


def test_eval_never_scores_another_text_instead(a_run, capsys):
    (a_run / "data" / "manifest.json").unlink()
    assert run(["eval", str(a_run)]) == 66
    one_line(capsys, "manifest.json is missing")


def test_options_that_are_empty_or_zero_are_not_ignored(a_run):
    for arguments in (["--window", "0"], ["--stride", "0"], ["--data", ""]):
        assert run(["eval", str(a_run), *arguments]) != 0, arguments
    assert run(["train", "--out", ""]) == 2


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="pipes with a name are Unix")
def test_a_pipe_is_no_configuration_and_a_device_no_text(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    assert run(["train", "--config", "pipe"]) == 2
    assert run(["train", "/dev/null"]) == 65


def test_weights_that_are_no_numbers_are_refused(a_run, capsys, tmp_path):
    from safetensors.torch import load_file, save_file

    best = RunDirectory(a_run).best(print)
    shutil.copytree(best, tmp_path / "hf")
    for name in ("manifest.json", "state.json"):
        (tmp_path / "hf" / name).unlink()
    path = tmp_path / "hf" / "model.safetensors"
    good = load_file(path)
    for change in (lambda t: t * float("nan"), lambda t: t.long(), lambda t: t[None]):
        save_file(good | {"transformer.wpe.weight": change(good["transformer.wpe.weight"])}, path)
        capsys.readouterr()
        assert run(["generate", "hf", "--temperature", "0"]) == 65
        one_line(capsys, "wpe.weight")
    half = {name: tensor.half() for name, tensor in good.items()}
    save_file(half, path)
    assert run(["generate", "hf"]) == 0


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell closes them")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_fault(a_run, closed):
    line = f'"{sys.executable}" -m minigpt2 chat "{a_run}" </dev/null {closed}'
    result = subprocess.run(["sh", "-c", line], stderr=subprocess.PIPE, text=True)
    assert result.returncode == 0 and "unexpected" not in result.stderr, result.stderr


def test_an_unexpected_fault_is_one_line_and_debug_shows_it(a_run, capsys, monkeypatch):
    def broken(*args, **kwargs):
        raise RuntimeError("inner fault")

    monkeypatch.setattr("minigpt2.interop.open_model", broken)
    assert run(["generate", str(a_run)]) == 1
    one_line(capsys, "RuntimeError: inner fault")
    with pytest.raises(RuntimeError):
        run(["generate", str(a_run), "--debug"])


def test_the_environment_is_a_source(capsys, monkeypatch):
    monkeypatch.setenv("MINIGPT2_TRAINING_LEARNING_RATE", "7e-5")
    monkeypatch.setenv("MINIGPT2_TRAINING_MIN_LEARNING_RATE", "0")
    assert run(["train", "--print-config"]) == 0
    out = capsys.readouterr().out
    assert "learning_rate: 7.0e-05" in out and "# environment" in out


@pytest.fixture
def process():
    """Start minigpt2 as a process of its own; what is left of it ends with the test."""
    children = []

    def start(*arguments, **options):
        child = subprocess.Popen(
            [sys.executable, "-m", "minigpt2", *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, **{"text": True, **options},
        )  # fmt: skip
        children.append(child)
        return child

    yield start
    for child in children:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()


SIGNALS = [("SIGINT", 130), ("SIGTERM", 143), ("SIGHUP", 129)]


@pytest.mark.skipif(os.name == "nt", reason="POSIX signals")
@pytest.mark.parametrize(("name", "code"), SIGNALS)
def test_a_signal_finishes_the_step_and_saves(text_file, tmp_path, name, code, process):
    arguments = [*QUICK, "--training.max-steps", "1000000", "--logging.log-interval", "1"]
    # A signal that is ignored from above (nohup, a background job) stays ignored by design.
    obeyed = {"preexec_fn": lambda: signal.signal(getattr(signal, name), signal.SIG_DFL)}
    training = process("train", str(text_file), "--out", "r", *arguments, **obeyed)
    log = tmp_path / "r" / "metrics.jsonl"
    wait_for(lambda: log.exists() and log.stat().st_size > 1000, training)
    training.send_signal(getattr(signal, name))
    _, err = training.communicate(timeout=60)
    assert training.returncode == code
    assert "go on with: minigpt2 train --out r" in err and "Traceback" not in err
    run_dir = RunDirectory(tmp_path / "r")
    saved = json.loads((run_dir.latest(print) / "state.json").read_text())["step"]
    assert saved == run_dir.read_log()[-1]["step"]


def wait_for(condition, child, seconds=90):
    end = time.monotonic() + seconds
    while not condition():
        assert child.poll() is None, child.stderr.read()
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)


@pytest.mark.skipif(os.name == "nt", reason="POSIX pipes")
def test_a_closed_pipe_is_no_error(a_run, process):
    writer = process("generate", str(a_run), "--max-new-tokens", "5000")
    writer.stdout.read(10)
    writer.stdout.close()
    assert writer.wait(timeout=60) == 0
    assert "Error" not in writer.stderr.read()


def test_chat_in_a_pipe_answers_and_leaves_on_quit(a_run, process):
    chat = process("chat", str(a_run), "--max-new-tokens", "20", stdin=subprocess.PIPE)
    out, err = chat.communicate("the quick\n€\nquit\nnever read\n", timeout=60)
    assert chat.returncode == 0 and "Traceback" not in err
    assert len(out.splitlines()) >= 2 and "'€'" in err


def test_nanogpts_command_line_runs_word_for_word(text_file, tmp_path, process):
    """The published CPU line, cut to 3 steps; the text is named by the environment."""
    line = (
        "config/train_shakespeare_char.py --device=cpu --compile=False --eval_iters=20 "
        "--log_interval=1 --block_size=64 --batch_size=12 --n_layer=4 --n_head=4 --n_embd=128 "
        "--max_iters=3 --lr_decay_iters=3 --dropout=0.0"
    )
    environment = {**os.environ, "MINIGPT2_DATA_INPUT_FILE": str(text_file)}
    training = process("train", *line.split(), env=environment)
    out, err = training.communicate(timeout=120)
    assert training.returncode == 0, err
    assert "whole split" in err and "3 steps in" in out
