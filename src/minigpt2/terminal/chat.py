"""Talk to a model in the terminal: lines in, answers out, and commands that begin with a slash.

Ctrl-C stops an answer, never the program; Ctrl-D and 'quit' leave. What the model writes cannot
steer the terminal. In a pipe the same lines do the same, without editing, history or colours.
"""

import difflib
import shlex
import sys
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter
from rich.console import Console

from minigpt2.errors import InputMissingError, MiniGPT2Error, UsageError
from minigpt2.files import cache_dir
from minigpt2.generation import Engine, stream
from minigpt2.generation.speed import Speed
from minigpt2.model import LanguageModel
from minigpt2.sampling import Sampling
from minigpt2.terminal.talk import Talk, Turn, stopping
from minigpt2.terminal.writing import Writing
from minigpt2.text import printable
from minigpt2.tokenizers import Tokenizer, converses

PROMPT = "> "
_FENCE = '"""'

# From what names a model to where it lies, and itself.
Open = Callable[[str | None], tuple[str, LanguageModel, Tokenizer]]


class Chat:
    """One sitting: a model, its settings, and what has been said."""

    def __init__(self, model: str | None, open_model: Open, sampling: Sampling) -> None:
        self._open = open_model
        self._sampling = self._start = sampling
        self._talk, self._probabilities, self._speed = Talk(), False, Speed()
        self._told_of_the_window = False
        self._out = Console(highlight=False)
        self._use(model)

    def loop(self) -> None:
        """Read and answer until 'quit' or the end of input."""
        ask = _asker(self._status)
        if sys.stdin.isatty():
            asks = converses(self._tokenizer)
            form = "Ask; it answers." if asks else "Begin a text; the model goes on."
            _say(f"{form} /help lists commands, 'quit' leaves.")
        while True:
            try:
                line = _read(ask)
            except EOFError:
                return
            except KeyboardInterrupt:
                continue
            if line.strip() in ("quit", "exit", "/quit", "/exit"):
                return
            try:
                self._obey(line)
            except KeyboardInterrupt:
                _say("(stopped)")
            except MiniGPT2Error as error:
                _say(f"minigpt2: {printable(str(error))}")

    def _obey(self, line: str) -> None:
        """Do what a line asks for: a command, or an answer."""
        if line.strip() in ("help", "?"):
            line = "/help"
        if line.lstrip().startswith("/"):
            name, _, rest = line.strip()[1:].partition(" ")
            if name not in COMMANDS:
                near = difflib.get_close_matches(name, COMMANDS, n=1)
                hint = f"did you mean /{near[0]}?" if near else "/help lists what there is"
                raise UsageError(f"no command /{name}; {hint}")
            COMMANDS[name](self, rest.strip())
        elif line.strip():
            if line.startswith(_FENCE):
                line = line.removeprefix(_FENCE).removesuffix(_FENCE)
            self._answer([*self._talk.turns, Turn(line)])

    def _use(self, model: str | None) -> None:
        self._model, self._network, self._tokenizer = self._open(model)
        self._engine = Engine(self._network, 1, self._tokenizer.vocab_size)
        if self._tokenizer.chat_template is not None and not converses(self._tokenizer):
            _say("its chat template is of another kind and not used: the model continues your text")

    def _answer(self, turns: list[Turn]) -> None:
        """Let the model speak to the last of these turns; they stand if it could."""
        before, self._talk.turns = self._talk.turns, turns
        try:
            self._speak(turns[-1])
        except MiniGPT2Error:
            self._talk.turns = before
            raise
        self._sampling = self._sampling.with_seed(self._sampling.seed + 1)

    def _speak(self, turn: Turn) -> None:
        sampling = stopping(self._sampling, self._tokenizer)
        if self._probabilities and sampling.logprobs is None:
            sampling = replace(sampling, logprobs=0)
        ids = self._talk.ids(self._tokenizer, self._engine.size)
        writing, speed = Writing(self._out, self._probabilities), Speed()
        pieces = stream(self._engine, self._tokenizer, [ids], sampling)
        try:
            for piece in pieces:
                speed.count(piece)
                if not turn.answer and converses(self._tokenizer):
                    piece = replace(piece, text=piece.text.lstrip())
                turn.answer += piece.text
                writing.piece(piece)
                if (piece.cut or piece.slides) and not self._told_of_the_window:
                    self._told_of_the_window = True
                    _say("\n(the window is full: from now on the oldest text is out of sight)")
        except KeyboardInterrupt:
            writing.text("\n(stopped; /continue goes on)")
        finally:
            pieces.close()
            writing.text("\n")
        self._speed = speed

    def _status(self) -> str:
        speed = f"  {self._speed.tokens_per_second:,.0f} tokens/s" if self._speed.tokens else ""
        return f"{self._model}  temperature {self._sampling.temperature:g}{speed}  /help"

    def _last_turn(self) -> Turn:
        if not self._talk.turns:
            raise UsageError("nothing has been said yet")
        return self._talk.turns[-1]

    def do_help(self, _: str) -> None:
        """/help: list the commands."""
        for command in COMMANDS.values():
            _say(str(command.__doc__).strip().rstrip("."))
        _say('"""\n  begins and ends a text of several lines; quit, or Ctrl-D, leaves')

    def do_set(self, rest: str) -> None:
        """/set temperature 0.8: change a setting; without a value it is as at the start."""
        try:
            name, *values = shlex.split(rest.replace("=", " ", 1))
        except ValueError:  # nothing, or a quote that does not close
            raise UsageError("/set needs a name and a value, as in /set temperature 0.8") from None
        source, key = self._sampling if values else self._start, name.replace("-", "_")
        value = getattr(change(source, name.replace("_", "-"), values), key)
        self._sampling = replace(self._sampling, **{key: value})
        _say(f"{name} = {value}")

    def do_show(self, _: str) -> None:
        """/show: the model, every setting, and how full the window is."""
        used = len(self._talk.ids(self._tokenizer, self._engine.size)) if self._talk.turns else 0
        _say(f"model {self._model}; {used} tokens so far, its window holds {self._engine.size}")
        for item in fields(self._sampling):
            _say(f"  {item.name} = {getattr(self._sampling, item.name)}")
        if self._speed.tokens:
            _say(f"last answer: {self._speed.describe()}")

    def do_seed(self, rest: str) -> None:
        """/seed 1337: the seed of the next answer; each one after takes the next."""
        self.do_set(f"seed {rest}")

    def do_retry(self, _: str) -> None:
        """/retry: another answer to the last prompt."""
        again = Turn(self._last_turn().prompt)
        self._answer([*self._talk.turns[:-1], again])

    def do_continue(self, _: str) -> None:
        """/continue: go on with the last answer."""
        self._last_turn()
        self._answer(self._talk.turns)

    def do_undo(self, _: str) -> None:
        """/undo: forget the last prompt and its answer."""
        _say(f"forgotten: {printable(self._last_turn().prompt)}")
        self._talk.turns.pop()

    def do_new(self, _: str) -> None:
        """/new: forget everything that was said."""
        self._talk = Talk()

    def do_probs(self, _: str) -> None:
        """/probs: show how probable each token was, or no longer."""
        self._probabilities = not self._probabilities
        _say(f"probabilities are {'shown' if self._probabilities else 'hidden'}")
        if legend := Writing(self._out, self._probabilities).legend():
            self._out.print(legend)

    def do_save(self, rest: str) -> None:
        """/save FILE: keep what was said, and the settings."""
        self._talk.save(_file(rest), self._sampling, self._model)
        _say(f"saved {len(self._talk.turns)} turns to {rest}")

    def do_load(self, rest: str) -> None:
        """/load FILE: go on with what was saved."""
        self._sampling = self._talk.load(_file(rest))
        _say(f"loaded {len(self._talk.turns)} turns and their settings; {self._model} goes on")
        if self._talk.turns:
            _say(f"last prompt: {printable(self._talk.turns[-1].prompt)}")

    def do_model(self, rest: str) -> None:
        """/model NAME: go on with another model: a run, a checkpoint, a hub name."""
        if not rest:
            raise UsageError("/model needs a name, as in /model runs/novel")
        self._use(rest)


# Each method `do_NAME` is a command /NAME, as in the standard library's `cmd`.
COMMANDS: dict[str, Callable[[Chat, str], None]] = {
    name.removeprefix("do_"): method
    for name, method in vars(Chat).items()
    if name.startswith("do_")
}


def change(sampling: Sampling, name: str, values: list[str]) -> Sampling:
    """Return the settings with one of them read as the flag of that name would be.

    Without values they are returned as they are. Raises UsageError.

    >>> change(Sampling(), "top-k", ["5"]).top_k
    5
    """
    # The one flag takes all that follows, however it looks.
    free = Parameter(consume_multiple=True, allow_leading_hyphen=True, negative="")
    app = App(result_action="return_value", default_parameter=free, help_flags=[], version_flags=[])

    @app.default
    def read(*, sampling: Annotated[Sampling, Parameter(name="*")] = Sampling()) -> Sampling:  # noqa: B008
        return sampling

    flags = [f"--{name}={values[0]}"] if len(values) == 1 else [f"--{name}", *values]
    key = name.replace("-", "_")
    try:
        changed = app(flags, exit_on_error=False, print_error=False) if values else sampling
        return replace(sampling, **{key: getattr(changed, key)})
    except CycloptsError as error:
        raise UsageError(" ".join(str(error).split())) from None
    except (AttributeError, TypeError):
        raise UsageError(f"there is no setting {name}; /show lists them") from None


def _file(name: str) -> Path:
    if not name:
        raise InputMissingError("name a file, as in /save talk.json")
    try:
        if "\0" in name:
            raise UsageError("a file's name holds no NUL")
        return Path(name).expanduser()
    except RuntimeError as error:  # no such user
        raise UsageError(f"{name}: {error}") from None


def _read(ask: Callable[[str], str]) -> str:
    """Return a prompt: one line, or what stands between two triple quotes."""
    line = ask(PROMPT)
    if not line.startswith(_FENCE):
        return line
    text = line
    while len(text) < 2 * len(_FENCE) or not text.endswith(_FENCE):
        text += "\n" + ask("")
    return text


def _asker(status: Callable[[], str]) -> Callable[[str], str]:
    """Return a function that reads one line: with editing in a terminal, plain in a pipe."""
    if not sys.stdin.isatty():
        return lambda _: input()
    from prompt_toolkit import PromptSession
    from prompt_toolkit.completion import WordCompleter
    from prompt_toolkit.history import FileHistory, InMemoryHistory
    from prompt_toolkit.shortcuts import CompleteStyle

    try:
        path = cache_dir() / "chat_history"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        history = FileHistory(str(path))
    except (OSError, RuntimeError):  # RuntimeError: no home directory
        history = InMemoryHistory()
    words = WordCompleter([f"/{name}" for name in COMMANDS], sentence=True)
    # Completions as a shell shows them: a menu would keep eight lines of the window free.
    session: PromptSession[str] = PromptSession(
        history=history, completer=words, complete_while_typing=False,
        complete_style=CompleteStyle.READLINE_LIKE, reserve_space_for_menu=0,
    )  # fmt: skip
    return lambda prompt: session.prompt(prompt, bottom_toolbar=status)


def _say(line: str) -> None:
    print(line, file=sys.stderr)
