"""From any text to shards: survey, tokenizer, encoding; each stage can be killed and taken up.

Work lies in `.NAME.partial` beside the result: the survey, the tokenizer, finished shards and how
far each split has come. When all is there the folder takes its final name, by one rename. The same
call on the same text finds its own request in the manifest and has nothing to do.
"""

import contextlib
import copy
import hashlib
import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from minigpt2.concurrency import available_cores, map_in_order
from minigpt2.data.cleaning import Cleaner
from minigpt2.data.encoding import Encoder, jobs
from minigpt2.data.pieces import Piece
from minigpt2.data.readers import Reading, Source, read_source
from minigpt2.data.recipe import Recipe
from minigpt2.data.shards import VERSION, Dataset, open_dataset
from minigpt2.data.sources import Say, find_sources
from minigpt2.data.survey import Survey, survey
from minigpt2.data.writing import SplitWriter, WriterState, id_dtype, is_whole
from minigpt2.errors import DataError, InputMissingError, MiniGPT2Error, StorageError, UsageError
from minigpt2.files import (
    check_replaceable,
    put_in_place,
    read_sealed,
    replace_file,
    sealed,
    sha256_of,
    storage_errors,
)
from minigpt2.tokenizers import (
    END_OF_TEXT,
    TRANSCRIPT,
    Tokenizer,
    bpe_size,
    load_tokenizer,
    make_tokenizer,
    tokenizer_files,
)

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
    check_replaceable(out_dir)
    scratch_dir = out_dir.parent / f".{out_dir.name}.scratch"
    try:
        sources = []
        if recipe.val:
            val = find_sources(recipe.val, scratch_dir / "val", recipe.format, say)
            sources += [replace(source, held_out=True) for source in val]
        sources += find_sources(inputs, scratch_dir / "train", recipe.format, say)
        texts = _Texts(list(inputs), sources, recipe)
        request = _request(texts, tokenizer)
        if _stands(out_dir, request):
            say(f"{out_dir} holds exactly this already; nothing to do")
            return open_dataset(out_dir)
        _refuse_other_data(out_dir, texts.inputs, say)
        work = _Work(out_dir.parent / f".{out_dir.name}.partial", request, texts, say, progress)
        try:
            work.complete(tokenizer, processes)
        except StorageError:
            raise  # with more room the same call goes on
        except MiniGPT2Error:
            work.discard()  # the text or the request has to change before another attempt
            raise
        put_in_place(work.folder, out_dir)
    finally:
        shutil.rmtree(scratch_dir, ignore_errors=True)
    return open_dataset(out_dir)


@dataclass
class _Texts:
    """The files to read, validation files first, and how."""

    inputs: list[str]
    sources: list[Source]
    recipe: Recipe

    def pieces(self, cleaner: Cleaner | None = None) -> Iterator[Piece]:
        """Yield every piece, read and cleaned; whenever it is asked for, the same."""
        cleaner = cleaner or Cleaner(self.recipe.rules)
        reading = Reading(self.recipe.field, self.recipe.skip_bad, cleaner.note)
        for source in self.sources:
            yield from cleaner.clean(read_source(source, reading))

    def facts(self) -> list[dict[str, Any]]:
        """Return name, size and hash of each file."""
        entries = []
        for source in self.sources:
            try:
                size, digest = source.path.stat().st_size, sha256_of(source.path)
            except OSError as error:
                raise InputMissingError(f"{source.name} cannot be read: {error.strerror}") from None
            entry = {"name": source.name, "bytes": size, "sha256": digest}
            entries.append(entry | ({"split": "val"} if source.held_out else {}))
        return entries


class _Work:
    """The folder where a data directory comes to be."""

    def __init__(
        self, folder: Path, request: dict[str, Any], texts: _Texts, say: Say, progress: Progress
    ) -> None:
        self.folder, self._request, self._texts = folder, request, texts
        self._say, self._progress = say, progress
        self._made_parent = not folder.parent.exists()
        self._progress_path, self._survey_path = folder / "progress.json", folder / "survey.json"
        left = self._left_behind()
        self._states = left or {"train": WriterState(), "val": WriterState()}
        if left is None:
            with storage_errors(folder):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
            self._save()
        else:
            done = sum(len(state.shards) for state in left.values())
            say(f"going on where an interrupted call stopped: {done} shards are done")

    def complete(self, tokenizer: Tokenizer | None, processes: int) -> None:
        """Do all that is not done yet; at the end the folder is a data directory."""
        found = self._surveyed()
        tokenizer = self._tokenizer(found, tokenizer, processes)
        if found.separated and tokenizer.eos_id is None:
            raise DataError(
                f"{found.documents} documents need an end-of-text token between them, and this "
                "tokenizer has none; give one text, another --tokenizer, or, fine-tuning, add it: "
                '--data.special-tokens "<|endoftext|>"'
            )
        splits = self._encoded(found, tokenizer)
        manifest = {
            "format": "minigpt2-data",
            "version": VERSION,
            "inputs": self._texts.inputs,
            **self._request,
            "split": found.split,
            "separated": found.separated,
            "prompts": found.prompts,
            "turns": found.turns,
            "vocab_size": tokenizer.vocab_size,
            "dtype": id_dtype(tokenizer.vocab_size).name,
            "tokenizer_sha256": sha256_of(self.folder / "tokenizer.json"),
            "repairs": found.repairs,
            "cleaning": found.cleaning,
            "splits": splits,
        }
        replace_file(self.folder / "manifest.json", sealed(manifest))
        # The progress goes first: without it nothing here is taken up, whatever else is left.
        self._progress_path.unlink()
        self._survey_path.unlink()

    def discard(self) -> None:
        """Remove all that was done."""
        shutil.rmtree(self.folder, ignore_errors=True)
        if self._made_parent:
            with contextlib.suppress(OSError):  # something else came into it
                self.folder.parent.rmdir()

    def _left_behind(self) -> dict[str, WriterState] | None:
        """Return where an earlier call for the same request stopped, if that can be believed."""
        try:
            stored = read_sealed(self._progress_path)
            states = {split: WriterState(**state) for split, state in stored["states"].items()}
        except (MiniGPT2Error, KeyError, TypeError):
            return None
        whole = all(is_whole(self.folder, split, state) for split, state in states.items())
        return states if whole and stored["request"] == self._request else None

    def _save(self) -> None:
        states = {split: asdict(state) for split, state in self._states.items()}
        replace_file(self._progress_path, sealed({"request": self._request, "states": states}))

    def _surveyed(self) -> Survey:
        if self._survey_path.exists():
            return Survey.from_dict(read_sealed(self._survey_path))
        recipe = self._texts.recipe
        cleaner = Cleaner((*recipe.rules, *(["min-length"] if recipe.min_length else [])))
        pieces = self._shown("reading", self._texts.pieces(cleaner))
        found = survey(pieces, recipe, cleaner, self.folder)
        for line in (*(f"{count:,} {what}" for what, count in found.repairs.items()), *found.notes):
            self._say(line)
        replace_file(self._survey_path, sealed(found.to_dict()))
        return found

    def _shown(self, stage: str, pieces: Iterable[Piece]) -> Iterator[Piece]:
        done = 0
        for piece in pieces:
            yield piece
            done += len(piece.text)
            self._progress(stage, done, 0)

    def _tokenizer(self, found: Survey, given: Tokenizer | None, processes: int) -> Tokenizer:
        """Return the tokenizer, made once: what learned from the text is kept with the work."""
        if given is None and (self.folder / "tokenizer.json").exists():
            return load_tokenizer(self.folder)
        tokenizer = copy.copy(given or self._make_tokenizer(found, processes))
        if found.turns:
            tokenizer.chat_template = TRANSCRIPT
        files = tokenizer_files(tokenizer, block_size=1024)
        for name in sorted(files, reverse=True):  # tokenizer.json last: it says that all is there
            replace_file(self.folder / name, files[name])
        return tokenizer

    def _make_tokenizer(self, found: Survey, processes: int) -> Tokenizer:
        recipe = self._texts.recipe
        end = (END_OF_TEXT,) if found.separated or recipe.specials else ()
        specials = tuple(dict.fromkeys((*end, *recipe.specials)))
        learns = recipe.tokenizer.startswith("bpe:")
        asked = bpe_size(recipe.tokenizer) if learns else 0
        every = (p.prompt + p.text for _, p in found.assign(self._texts.pieces()))
        texts = self._training_sample(found) if learns else every

        def told(done: int) -> None:
            self._progress("learning merges", done, asked)

        many = processes if found.characters > _SMALL else 1
        tokenizer = make_tokenizer(recipe.tokenizer, texts, specials, many, told)
        if tokenizer.vocab_size < asked:
            self._say(
                f"the text supports {tokenizer.vocab_size:,} tokens, not {asked:,}: no pair is "
                "left that occurs twice"
            )
        return tokenizer

    def _training_sample(self, found: Survey) -> Iterator[str]:
        """Yield the training text, or pieces spread evenly over it if it is very long."""
        share = min(1.0, _LEARN_CHARACTERS / found.characters)
        taken, done = 0.0, 0
        for split, piece in found.assign(self._texts.pieces()):
            if split == "train":
                done += len(piece.text)
                self._progress("counting words", done, found.characters)
                taken += share
                if taken >= 1:
                    taken -= 1
                    yield from filter(None, (piece.prompt, piece.text))

    def _encoded(self, found: Survey, tokenizer: Tokenizer) -> dict[str, Any]:
        """Encode what is not on disk yet; return the manifest's account of the splits."""
        size, shard_tokens = tokenizer.vocab_size, self._texts.recipe.shard_tokens
        writers = {
            split: SplitWriter(self.folder, split, size, shard_tokens, state)
            for split, state in self._states.items()
        }
        separator = tokenizer.eos_id if found.separated else None
        encoder, cores = Encoder(tokenizer, separator), available_cores()
        todo = (
            job
            for job in jobs(found.assign(self._texts.pieces()))
            if job.number >= self._states[job.split].jobs
        )

        def first_bytes(token: int) -> int:
            return 0 if token == separator else len(tokenizer.decode_bytes([token]))

        try:
            with ThreadPoolExecutor(cores) as pool:
                for encoded in map_in_order(pool, encoder.encode, todo, 2 * cores):
                    if writers[encoded.split].add(encoded):
                        self._states[encoded.split] = writers[encoded.split].state
                        self._save()
                    done = sum(writer.now.characters for writer in writers.values())
                    self._progress("encoding", done, found.characters)
            if sum(writer.now.characters for writer in writers.values()) != found.characters:
                raise DataError("the text changed while it was read; prepare it again")
            return {split: writer.finish(first_bytes) for split, writer in writers.items()}
        finally:
            for writer in writers.values():
                writer.abandon()


def _request(texts: _Texts, tokenizer: Tokenizer | None) -> dict[str, Any]:
    """Return all that decides about the result: two equal requests have equal results."""
    recipe = asdict(texts.recipe)
    request = {"recipe": json.loads(json.dumps(recipe)), "sources": texts.facts()}
    if tokenizer is None and texts.recipe.reads_tokenizer():
        tokenizer = make_tokenizer(texts.recipe.tokenizer)
    content = json.dumps(tokenizer and tokenizer.to_json(), sort_keys=True)
    request["given_tokenizer"] = tokenizer and hashlib.sha256(content.encode()).hexdigest()
    return request


def _refuse_other_data(out_dir: Path, inputs: list[str], say: Say) -> None:
    """Replace only what was made of the same inputs: another name may mean another thing."""
    try:
        before = read_sealed(out_dir / "manifest.json").get("inputs", [])
    except MiniGPT2Error:
        return
    if before != inputs:
        raise UsageError(
            f"{out_dir} holds the data of {', '.join(before[:3])}; choose another --out, "
            "or remove it"
        )
    say(f"{out_dir} is made anew: the text or the options are others")


def _stands(out_dir: Path, request: dict[str, Any]) -> bool:
    """Say whether `out_dir` already is, whole, the answer to this request."""
    try:
        manifest = open_dataset(out_dir).manifest
    except MiniGPT2Error:
        return False
    return all(manifest.get(key) == value for key, value in request.items())
