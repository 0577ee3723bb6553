"""The chat's lines and commands, as a pipe sends them; and what the model is given to read."""

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from minigpt2.__main__ import run
from minigpt2.errors import DataError, StorageError, UsageError
from minigpt2.generation import Piece, Token
from minigpt2.interop.opening import PRETRAINED
from minigpt2.sampling import Sampling
from minigpt2.terminal.chat import change
from minigpt2.terminal.talk import Talk, Turn, stopping
from minigpt2.terminal.training import LossCurve
from minigpt2.terminal.writing import Writing
from minigpt2.tokenizers import TRANSCRIPT, ByteTokenizer


@pytest.fixture(autouse=True)
def in_an_empty_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def chat(monkeypatch, capsys):
    """Send lines to a chat; return what it wrote."""

    def send(*lines, model=str(PRETRAINED), options=("--max-new-tokens", "12")):
        monkeypatch.setattr("sys.stdin", io.StringIO("\n".join(lines) + "\n"))
        capsys.readouterr()
        assert run(["chat", model, *options]) == 0
        return capsys.readouterr()

    return send


def test_the_same_sitting_says_the_same(chat):
    lines = ("ROMEO:", "/retry", "/continue", "JULIET:")
    first = chat(*lines)
    assert first.out == chat(*lines).out and len(first.out.splitlines()) >= 4


def test_another_seed_is_another_answer_and_a_set_one_repeats(chat):
    assert chat("/seed 4", "ROMEO:").out == chat("/set seed 4", "ROMEO:").out
    assert chat("/seed 4", "ROMEO:").out != chat("/seed 5", "ROMEO:").out
    one, two = chat("/seed 4", "ROMEO:").out, chat("/seed 4", "ROMEO:", "/seed 4", "/retry").out
    assert two == one + one


def test_going_on_equals_never_having_stopped_without_chance(chat):
    cold = ("--temperature", "0", "--max-new-tokens")
    halves = chat("ROMEO:", "/continue", options=(*cold, "6")).out
    whole = chat("ROMEO:", options=(*cold, "12")).out
    assert halves.replace("\n", "") == whole.replace("\n", "")


def test_what_was_said_is_read_until_it_is_undone(chat):
    long = ("--max-new-tokens", "60")
    alone = chat("/seed 9", "JULIET:", options=long).out
    after = chat("ROMEO:", "/seed 9", "JULIET:", options=long).out
    undone = chat("ROMEO:", "/undo", "/seed 9", "JULIET:", options=long)
    assert undone.out.endswith(alone) and not after.endswith(alone)
    assert "forgotten: ROMEO:" in undone.err
    assert chat("ROMEO:", "/new", "/seed 9", "JULIET:", options=long).out.endswith(alone)


def test_several_lines_stand_between_triple_quotes(chat):
    cold = ("--temperature", "0")
    fenced = chat('"""ROMEO:', 'O"""', "/save t.json", options=cold)
    assert json.loads(Path("t.json").read_text())["turns"][0]["prompt"] == "ROMEO:\nO"
    assert fenced.out
    chat('"""', "/no command", '"""', "/save u.json", options=cold)
    assert json.loads(Path("u.json").read_text())["turns"][0]["prompt"] == "\n/no command\n"


def test_saving_and_loading_goes_on_as_if_nothing_had_been(chat):
    lines = ("/set top-k 7", "/set stop X 'a b'", "ROMEO:")
    unbroken = chat(*lines, "/continue").out
    begun = chat(*lines, "/save t.json").out
    resumed = chat("/load t.json", "/continue", "/show")
    assert begun + resumed.out == unbroken
    assert "top_k = 7" in resumed.err and "stop = ('X', 'a b')" in resumed.err


def test_nobody_elses_file_is_replaced_or_believed(chat, tmp_path):
    (tmp_path / "novel.txt").write_text("mine")
    shown = chat("/save novel.txt", "/load novel.txt", "/load none.json", "/save")
    assert (tmp_path / "novel.txt").read_text() == "mine"
    assert "is another file" in shown.err and "none.json is missing" in shown.err
    (tmp_path / "bad.json").write_text('{"format": "minigpt2-chat", "sampling": {"top_k": 0}}')
    with pytest.raises((DataError, UsageError)):
        Talk().load(tmp_path / "bad.json")
    with pytest.raises(StorageError):
        Talk().save(tmp_path / "novel.txt", Sampling(), "m")


def test_show_probs_set_and_help_say_what_is(chat):
    shown = chat("/help", "/set temperature 0.25", "/show", "/probs", "ROMEO:", "/probs")
    for command in ("set", "show", "retry", "undo", "continue", "probs", "seed", "save", "load",
                    "model", "new", "help"):  # fmt: skip
        assert f"/{command}" in shown.err
    assert "temperature = 0.25" in shown.err and "256" in shown.err
    assert shown.out.count("[") >= 12  # without colours as numbers


@pytest.mark.parametrize(
    ("line", "part"),
    [("/sho", "did you mean /show?"), ("/xyzzy", "/help"), ("/set", "/set temperature 0.8"),
     ("/set temprature 1", "Did you mean"), ("/set temperature hot", "hot"),
     ("/set temperature -1", "from 0 to"), ("/set top-k 0", "at least 1"),
     ("/set stop 'x", "/set temperature 0.8"), ("/retry", "nothing has been said"),
     ("/undo", "nothing has been said"), ("/continue", "nothing has been said"),
     ("/model", "needs a name"), ("/model nowhere", "nowhere"), ("/seed x", "nvalid value"),
     ("/set --json 1", "json"), ("/set overflow wrap", "wrap"), ("/set stop --help b", "stop ="),
     ("/save a\0b", "NUL"), ("/load .", "cannot be read"), ("/save ~nobody-here/x", "nobody-here"),
     ("/set temperature=0.5", "temperature = 0.5"), ("?", "/retry"), (" /show", "model ")],
)  # fmt: skip
def test_what_cannot_be_meant_gets_one_line_and_the_chat_goes_on(chat, line, part):
    shown = chat(line, "ROMEO:")
    assert part in shown.err and "unexpected" not in shown.err and len(shown.out) > 5


def test_a_setting_without_a_value_is_as_at_the_start(chat):
    shown = chat("/set max-new-tokens 3", "/set max-new-tokens", options=("--max-new-tokens", "7"))
    assert "max-new-tokens = 7" in shown.err


@pytest.mark.parametrize(
    "sampling",
    [{"seed": 1.5}, {"seed": None}, {"top_k": 2.5}, {"stop": [1]}, {"banned_ids": ["x"]},
     {"logit_bias": [["a", 1]]}, {"logit_bias": [[1]]}, {"overflow": "x"}, {"unknown": 1}],
)  # fmt: skip
def test_an_edited_talk_is_one_line(chat, tmp_path, sampling):
    record = {"format": "minigpt2-chat", "sampling": sampling, "turns": []}
    (tmp_path / "t.json").write_text(json.dumps(record))
    shown = chat("/load t.json", "ROMEO:", "/save u.json")
    assert shown.err.count("minigpt2:") == 1 and len(shown.out) > 5


def test_another_model_takes_over(chat, tmp_path, tiny, tokenizer):
    from minigpt2 import save_pretrained

    save_pretrained(tiny, tokenizer, "tiny")
    shown = chat("/model tiny", "the fox", "ROMEO", "/model " + str(PRETRAINED), "ROMEO:")
    assert "'R'" in shown.err  # the small alphabet has none; what was said before stands


def test_a_prompt_that_fails_is_not_kept(chat, tiny, tokenizer):
    from minigpt2 import save_pretrained

    save_pretrained(tiny, tokenizer, "tiny")
    shown = chat("Z", "/undo", model="tiny")
    assert "'Z'" in shown.err and "nothing has been said" in shown.err


def test_settings_are_read_as_their_flags_are():
    start = Sampling(temperature=0.3, top_k=5)
    assert change(start, "temperature", ["0.7"]) == Sampling(temperature=0.7, top_k=5)
    assert change(start, "top-k", []) == start
    assert change(start, "top-k", ["none"]).top_k is None
    assert change(start, "logit-bias", ["5", "-3", "7", "2"]).logit_bias == ((5, -3.0), (7, 2.0))
    assert change(start, "stop", ["--x", "-y"]).stop == ("--x", "-y")
    assert change(start, "stop-at-newline", ["true"]).stop_at_newline
    with pytest.raises(UsageError):
        change(start, "with-seed", [])


def test_a_conversation_is_asked_as_it_was_trained():
    asked = ByteTokenizer()
    asked.chat_template = TRANSCRIPT
    talk = Talk([Turn("Why?", "So."), Turn("And?")])
    text = bytes(talk.ids(asked, 1000)).decode()
    assert text == "User: Why?\nAssistant: So.\nUser: And?\nAssistant:"
    assert bytes(talk.ids(asked, 60)).decode() == "User: And?\nAssistant:"
    talk.turns[1].answer = "Be"
    assert bytes(talk.ids(asked, 1000)).decode().endswith("User: And?\nAssistant: Be")
    assert stopping(Sampling(), asked).stops == ("\nUser:",)


def test_any_other_model_reads_one_text():
    talk = Talk([Turn("A:", " so\n"), Turn("B:", " on"), Turn("C:")])
    assert bytes(talk.ids(ByteTokenizer(), 8)).decode() == "A: so\n\nB: on\n\nC:"


def test_a_piece_of_several_tokens_is_as_probable_as_its_least():
    out = io.StringIO()
    writing = Writing(Console(file=out), probabilities=True)
    for text, logprob in (("", -3.0), ("😀", -0.1), ("a", 0.0)):
        writing.piece(Piece(0, 0, text, Token(0, 0, 1, logprob)))
    assert out.getvalue() == "😀[5]a[100]"


def test_colours_say_how_probable_and_escapes_are_shown_not_obeyed():
    out = io.StringIO()
    writing = Writing(Console(file=out, force_terminal=True, color_system="standard"), True)
    writing.piece(Piece(0, 0, "\x1b[2J", Token(0, 0, 1, -0.1)))
    writing.piece(Piece(0, 0, "b", Token(0, 0, 1, -9.0)))
    assert "\x1b[32m␛[2J" in out.getvalue() and "\x1b[31mb" in out.getvalue()
    assert writing.legend() is not None


def test_a_loss_curve_falls_from_left_to_right_and_marks_validation():
    curve = LossCurve(100)
    for step in range(1, 51):
        curve.add(step, 4 / step**0.5)
    curve.mark(50, 2.0)
    lines = curve.draw(60, 8).plain.split("\n")
    assert len(lines) == 8 and max(map(len, lines)) == 60
    columns = [
        [x for x, character in enumerate(line[7:]) if "\u2800" < character < "\u2900"]
        for line in lines
    ]
    first = [min(found) for found in columns if found]
    assert first == sorted(first) and max(max(found) for found in columns if found) < 30
    assert sum(line.count("●") for line in lines) == 1
    assert not LossCurve(100).draw(60, 8) and not curve.draw(10, 8) and not curve.draw(60, 1)
    curve.add(60, float("nan"))
    curve.draw(60, 8)
