"""From any text to shards: survey, tokenizer, encoding; each stage can be killed and taken up.

Work lies in `.NAME.partial` beside the result: the survey, the tokenizer, finished shards and how
far each split has come. When all is there the folder takes its final name, by one rename. The same
call on the same text finds its own request in the manifest and has nothing to do.
"""

import contextlib
import copy
import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from minigpt2 import files
from minigpt2.concurrency import available_cores, map_in_order
from minigpt2.config import bpe_size
from minigpt2.data.documents import Cleaner, Piece, Recipe
from minigpt2.data.readers import Source, read_source
from minigpt2.data.shards import VERSION, Dataset, id_dtype, open_dataset
from minigpt2.data.sources import Say, find_sources
from minigpt2.data.survey import Survey, survey
from minigpt2.data.writing import BEGINNING, SplitWriter, encode, is_whole, jobs
from minigpt2.errors import DataError, InputMissingError, MiniGPT2Error, StorageError, UsageError
from minigpt2.tokenizers import END_OF_TEXT, TRANSCRIPT, Tokenizer, load_tokenizer, make_tokenizer
from minigpt2.tokenizers.directory import tokenizer_files

# Told (stage, done, of how many); the total is 0 while it is unknown.
Progress = Callable[[str, int, int], None]

# Of a longer text pieces spread over it: the counts of distinct words have to fit in memory.
_LEARN_CHARACTERS = 256 << 20
_SMALL = 8 << 20  # below this many characters a second process costs more than it saves


def prepare(
    inputs: Sequence[str],
    out_dir: Path | str,
    recipe: Recipe,
    *,
    tokenizer: Tokenizer | None = None,
    processes: int = 1,
    say: Say = lambda line: None,
    progress: Progress = lambda stage, done, total: None,
) -> Dataset:
    """Make `inputs` (files, folders, globs, names, URLs, "-") a data directory.

    `tokenizer` replaces the one the recipe names. What an interrupted call left is taken up; what
    the same call already finished is opened. `processes` count words for bpe:N; encoding always
    uses threads on all cores. Raises DataError, InputMissingError, ConfigError or StorageError.
    """
    recipe.check()
    out_dir = Path(out_dir)
    out_dir = out_dir if out_dir.name not in ("", "..") else out_dir.resolve()
    files.check_replaceable(out_dir)
    scratch_dir = out_dir.parent / f".{out_dir.name}.scratch"
    try:
        sources = find_sources(inputs, scratch_dir / "train", recipe.format, say)
        if recipe.val:
            val = find_sources(recipe.val, scratch_dir / "val", recipe.format, say)
            sources = [*(replace(source, held_out=True) for source in val), *sources]
        request = _request(recipe, sources, tokenizer)
        if _stands(out_dir, list(inputs), request, say):
            return open_dataset(out_dir)
        partial_dir = out_dir.parent / f".{out_dir.name}.partial"
        work = _Work(partial_dir, recipe, sources, request, say, progress)
        try:
            work.complete(list(inputs), tokenizer, processes)
        except MiniGPT2Error as error:
            # With more room the same call goes on; else the text or the request has to change.
            if not isinstance(error, StorageError):
                work.discard()
            raise
        files.put_in_place(work.folder, out_dir)
    finally:
        shutil.rmtree(scratch_dir, ignore_errors=True)
    return open_dataset(out_dir)


@dataclass
class _Work:
    """The folder where a data directory comes to be, of `sources`, validation files first."""

    folder: Path
    recipe: Recipe
    sources: list[Source]
    request: dict[str, Any]
    say: Say
    progress: Progress

    def __post_init__(self) -> None:
        self._made_parent = not self.folder.parent.exists()
        self._path = self.folder / "progress.json"
        self._done = self._left_behind()
        if self._done:
            done = sum(len(state["shards"]) for state in self._done["states"].values())
            self.say(f"going on where an interrupted call stopped: {done} shards are done")
            return
        with files.storage_errors(self.folder):
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)

    def complete(self, inputs: list[str], tokenizer: Tokenizer | None, processes: int) -> None:
        """Do all that is not done yet; at the end the folder is a data directory."""
        found = self._surveyed()
        tokenizer = self._tokenizer(found, tokenizer, processes)
        if found.separated and tokenizer.eos_id is None:
            raise DataError(
                f"{found.documents} documents need an end-of-text token between them, and this "
                "tokenizer has none; give one text, another --tokenizer, or, fine-tuning, add it: "
                '--data.special-tokens "<|endoftext|>"'
            )
        told = ("split", "separated", "prompts", "turns", "repairs", "cleaning")
        manifest = {
            "format": "minigpt2-data",
            "version": VERSION,
            "inputs": inputs,
            **self.request,
            **{name: getattr(found, name) for name in told},
            "vocab_size": tokenizer.vocab_size,
            "dtype": id_dtype(tokenizer.vocab_size).name,
            "tokenizer_sha256": files.sha256_of(self.folder / "tokenizer.json"),
            "splits": self._encoded(found, tokenizer),
        }
        files.replace_file(self.folder / "manifest.json", files.sealed(manifest))
        self._path.unlink()

    def discard(self) -> None:
        """Remove all that was done."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._made_parent:
            with contextlib.suppress(OSError):  # something else came into it
                self.folder.parent.rmdir()

    def _left_behind(self) -> dict[str, Any]:
        """Return what an earlier call for the same request had done, if that can be believed."""
        try:
            left = files.read_sealed(self._path)
            Survey(**left["survey"])  # or there was none yet
            states = left["states"].items()
            whole = all(is_whole(self.folder / split, state) for split, state in states)
            return left if whole and left["request"] == self.request else {}
        except (MiniGPT2Error, KeyError, TypeError):
            return {}

    def _save(self) -> None:
        files.replace_file(self._path, files.sealed(self._done))

    def _pieces(self, cleaner: Cleaner, stage: str = "", total: int = 0) -> Iterator[Piece]:
        """Yield every piece, read and cleaned; whenever it is asked for, the same.

        A `stage` is told how many characters there were.
        """
        done = 0
        for source in self.sources:
            for piece in cleaner.clean(read_source(source, self.recipe, cleaner.repairs)):
                yield piece
                done += len(piece.text)
                if stage:
                    self.progress(stage, done, total)

    def _surveyed(self) -> Survey:
        if self._done:
            return Survey(**self._done["survey"])
        min_length = ["min-length"] if self.recipe.min_length else []
        cleaner = Cleaner((*self.recipe.rules, *min_length))
        found = survey(self._pieces(cleaner, "reading"), self.recipe, cleaner, self.say)
        states = dict.fromkeys(("train", "val"), BEGINNING)
        self._done = {"request": self.request, "survey": asdict(found), "states": states}
        self._save()
        return found

    def _assigned(self, found: Survey, stage: str = "") -> Iterator[tuple[str, Piece]]:
        return found.assign(self._pieces(Cleaner(self.recipe.rules), stage, found.characters))

    def _tokenizer(self, found: Survey, given: Tokenizer | None, processes: int) -> Tokenizer:
        """Return the tokenizer, made once: what learned from the text is kept with the work."""
        if given is None and (self.folder / "tokenizer.json").exists():
            return load_tokenizer(self.folder)
        tokenizer = copy.copy(given or self._make_tokenizer(found, processes))
        if found.turns:
            tokenizer.chat_template = TRANSCRIPT
        contents = tokenizer_files(tokenizer, block_size=1024)
        # tokenizer.json last: it says that all is there.
        for name in sorted(contents, reverse=True):
            files.replace_file(self.folder / name, contents[name])
        return tokenizer

    def _make_tokenizer(self, found: Survey, processes: int) -> Tokenizer:
        recipe = self.recipe
        end = (END_OF_TEXT,) if found.separated or recipe.specials else ()
        specials = tuple(dict.fromkeys((*end, *recipe.specials)))
        asked, texts = 0, (p.prompt + p.text for _, p in self._assigned(found))
        if recipe.tokenizer.startswith("bpe:"):
            asked, texts = bpe_size(recipe.tokenizer), self._training_sample(found)

        def told(done: int) -> None:
            self.progress("learning merges", done, asked)

        many = processes if found.characters > _SMALL else 1
        tokenizer = make_tokenizer(recipe.tokenizer, texts, specials, many, told)
        if tokenizer.vocab_size < asked:
            self.say(
                f"the text supports {tokenizer.vocab_size:,} tokens, not {asked:,}: no pair is "
                "left that occurs twice"
            )
        return tokenizer

    def _training_sample(self, found: Survey) -> Iterator[str]:
        """Yield the training text, or pieces spread evenly over it if it is very long."""
        share = min(1.0, _LEARN_CHARACTERS / found.characters)
        assigned = self._assigned(found, "counting words")
        training = (piece for split, piece in assigned if split == "train")
        for number, piece in enumerate(training):
            if int(number * share) < int((number + 1) * share):
                yield from filter(None, (piece.prompt, piece.text))

    def _encoded(self, found: Survey, tokenizer: Tokenizer) -> dict[str, Any]:
        """Encode what is not on disk yet; return the manifest's account of the splits."""
        size, shard_tokens = tokenizer.vocab_size, self.recipe.shard_tokens
        states = self._done["states"]
        writers = {
            split: SplitWriter(self.folder / split, size, shard_tokens, state)
            for split, state in states.items()
        }
        separator, cores = tokenizer.eos_id if found.separated else None, available_cores()
        work = partial(encode, tokenizer, separator)
        every = jobs(self._assigned(found))
        todo = (job for job in every if job.number >= states[job.split]["jobs"])
        with ThreadPoolExecutor(cores) as pool:
            for job, ids, starts in map_in_order(pool, work, todo, 2 * cores):
                if state := writers[job.split].add(job, ids, starts):
                    states[job.split] = state
                    self._save()
                done = sum(writer.now["characters"] for writer in writers.values())
                self.progress("encoding", done, found.characters)
        if sum(writer.now["characters"] for writer in writers.values()) != found.characters:
            raise DataError("the text changed while it was read; prepare it again")
        return {split: writer.finish(tokenizer, separator) for split, writer in writers.items()}


def _request(recipe: Recipe, sources: list[Source], tokenizer: Tokenizer | None) -> dict[str, Any]:
    """Return all that decides about the result: two equal requests have equal results."""
    if tokenizer is None and recipe.reads_tokenizer():
        tokenizer = make_tokenizer(recipe.tokenizer)
    return {
        "recipe": json.loads(json.dumps(asdict(recipe))),
        "sources": [_facts(source) for source in sources],
        "given_tokenizer": tokenizer and files.digest(tokenizer.to_json()),
    }


def _facts(source: Source) -> dict[str, Any]:
    split = {"split": "val"} if source.held_out else {}
    try:
        return {"name": source.name, **split, **files.size_and_hash(source.path)}
    except OSError as error:
        raise InputMissingError(f"{source.name} cannot be read: {error.strerror}") from None


def _stands(out_dir: Path, inputs: list[str], request: dict[str, Any], say: Say) -> bool:
    """Say whether `out_dir` already is, whole, the answer to this request.

    It is replaced only by what is made of the same inputs: another name may mean another thing.
    """
    try:
        manifest = files.read_sealed(out_dir / "manifest.json")
    except MiniGPT2Error:
        return False
    with contextlib.suppress(MiniGPT2Error):
        open_dataset(out_dir)
        if manifest | request == manifest:
            say(f"{out_dir} holds exactly this already; nothing to do")
            return True
    if (before := manifest.get("inputs", [])) != inputs:
        shown = ", ".join(before[:3])
        raise UsageError(f"{out_dir} holds the data of {shown}; choose another --out, or remove it")
    say(f"{out_dir} is made anew: the text or the options are others")
    return False
