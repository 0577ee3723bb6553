"""Records, one a line or row: JSONL, CSV and TSV, read by the standard library.

The standard library's readers know the line they are in and stop at a bad one; a record is an
Example, or a BadRecordError that says what is wrong with it and where. A conversation is an
example for each of its answers.
"""

import csv
import io
import itertools
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, BinaryIO

from minigpt2.errors import DataError
from minigpt2.tokenizers.transcript import ROLES, answers

LONGEST_RECORD = 32 << 20  # bytes; one record is held in memory as a whole

# Fields that hold a question and its answer, where no field "text" is and none was named.
PAIRS = (
    ("prompt", "answer"),
    ("prompt", "completion"),
    ("prompt", "response"),
    ("question", "answer"),
    ("instruction", "output"),
)
MESSAGES = "messages"  # the field that holds a conversation


class BadRecordError(Exception):
    """A record that cannot be used; its text names the place and the reason."""


@dataclass(frozen=True, slots=True)
class Example:
    """A text, what is given before it, and the conversation it is a turn of, if it is."""

    prompt: str
    text: str
    conversation: str = ""


Record = Example | BadRecordError


def jsonl_records(file: BinaryIO, name: str, field: str | None) -> Iterator[Record]:
    """Yield a record for each line that is not blank."""
    for number, line in enumerate(_lines(file), 1):
        place = f"line {number}"
        if isinstance(line, BadRecordError):
            yield BadRecordError(f"{place}: {line}")
        elif line.strip():
            yield from _json_records(line.removeprefix(b"\xef\xbb\xbf"), place, field)


def csv_records(file: BinaryIO, name: str, field: str | None, kind: str) -> Iterator[Record]:
    """Yield a record for each row after the header; `kind` is csv or tsv."""
    csv.field_size_limit(LONGEST_RECORD)
    # Strays become surrogates here and are told, with the line, where they stand.
    with io.TextIOWrapper(file, "utf-8-sig", "surrogateescape", newline="") as text:
        lines = _bounded(text, name)
        first = next(lines, None)
        if first is None:
            return
        # Spreadsheets write semicolons where the comma is the decimal point.
        separator = "\t" if kind == "tsv" else max(",;\t", key=first.count)
        rows = csv.reader(itertools.chain([first], lines), delimiter=separator, strict=True)
        try:
            header = next(rows)
        except csv.Error as error:
            raise DataError(f"{name}, line {rows.line_num}: {error}; is it a table?") from None
        chosen = choose(header, field)
        if chosen is None:
            raise DataError(f"{name} {lacking(header, field)}")
        refuse_twins(header, chosen, name)
        columns = [-1 if column is None else header.index(column) for column in chosen]
        yield from _csv_rows(rows, columns, len(header))


def _csv_rows(rows: Any, columns: list[int], width: int) -> Iterator[Record]:
    while True:
        try:
            row = next(rows, None)
            if row is None:
                return
            if row:
                yield _csv_record(row, f"line {rows.line_num}", columns, width)
        except csv.Error as error:
            yield BadRecordError(f"line {rows.line_num}: {error}")


def choose(names: Sequence[str], field: str | None) -> tuple[str | None, str] | None:
    """Return the fields of prompt and text, None for no prompt; None alone: they lack.

    >>> choose(["id", "text"], None), choose(["q", "a"], "q+a"), choose(["a", "b"], None)
    ((None, 'text'), ('q', 'a'), None)
    """
    if field is not None:
        if field in names:
            return None, field
        prompt, _, text = field.partition("+")
        return (prompt, text) if prompt in names and text in names else None
    if "text" in names:
        return None, "text"
    pairs = [pair for pair in PAIRS if pair[0] in names and pair[1] in names]
    return pairs[0] if pairs else None


def checked(prompt: Any, text: Any, place: str) -> Record:
    """Return the record if both parts are text."""
    for part in (prompt, text):
        if part is None:
            return BadRecordError(f"{place}: the text is null")
        if isinstance(part, str) and len(part) > LONGEST_RECORD:
            return BadRecordError(f"{place}: longer than {LONGEST_RECORD >> 20} MiB")
        if not isinstance(part, str):
            return BadRecordError(f"{place}: {str(part)[:40]!r} is no text")
        try:
            part.encode()
        except UnicodeEncodeError as error:
            stray = ord(part[error.start])
            what = f"byte 0x{stray - 0xDC00:02x}" if 0xDC80 <= stray <= 0xDCFF else "half a pair"
            return BadRecordError(
                f"{place}: no valid text at character {error.start}: {what} (U+{stray:04X})"
            )
    return Example(prompt, text)


def holds_messages(names: Sequence[str], field: str | None) -> bool:
    """Say whether the fields hold a conversation, and none that would be taken before it."""
    wanted = field in (None, MESSAGES) and MESSAGES in names
    return wanted and (field is not None or choose(names, None) is None)


def conversation(messages: Any, place: str) -> Iterator[Record]:
    """Yield an example for each answer in a list of {"role", "content"}, or what is wrong."""
    fault = _fault(messages)
    turns = [] if fault else list(answers(messages))
    if fault or not turns:
        yield BadRecordError(f"{place}: {fault or 'nobody speaks as assistant'}")
        return
    group = json.dumps([[message["role"], message["content"]] for message in messages])
    for prompt, text in turns:
        record = checked(prompt, text, place)
        yield replace(record, conversation=group) if isinstance(record, Example) else record


def _fault(messages: Any) -> str | None:
    if not isinstance(messages, list) or not messages:
        return f"{MESSAGES} is no list of messages"
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("content"), str):
            return 'a message is {"role": ..., "content": a text}'
        if message.get("role") not in ROLES:
            return f"role {message.get('role')!r}; roles are {', '.join(ROLES)}"
    return None


def lacking(names: Sequence[str], field: str | None) -> str:
    """Say in a message that the fields lack, and which there are."""
    shown = ", ".join(" ".join(name.split())[:40] for name in names[:12]) or "nothing"
    wanted = f"no field {field!r}" if field else "no field 'text'"
    remedy = "choose with minigpt2 prepare --field NAME, or PROMPT+ANSWER"
    return f"has {wanted}; it has {shown}: {remedy}"


def refuse_twins(names: Sequence[str], chosen: tuple[str | None, str], name: str) -> None:
    """Raise DataError if a chosen column is there twice."""
    for column in chosen:
        if column is not None and names.count(column) > 1:
            raise DataError(f"{name} has two columns {column!r}; rename one")


def _json_records(line: bytes, place: str, field: str | None) -> Iterator[Record]:
    tree = _json_object(line, place)
    if isinstance(tree, dict) and holds_messages(list(tree), field):
        yield from conversation(tree[MESSAGES], place)
    else:
        yield _json_record(tree, place, field) if isinstance(tree, dict) else tree


def _json_object(line: bytes, place: str) -> dict[str, Any] | BadRecordError:
    try:
        tree = json.loads(line.decode("utf-8"))
    except UnicodeDecodeError as error:
        return BadRecordError(f"{place}: not UTF-8 at byte {error.start}")
    except (ValueError, RecursionError) as error:
        return BadRecordError(f"{place}: no JSON: {str(error)[:80]}")
    return tree if isinstance(tree, dict) else BadRecordError(f"{place}: no JSON object")


def _json_record(tree: dict[str, Any], place: str, field: str | None) -> Record:
    chosen = choose(list(tree), field)
    if chosen is None:
        return BadRecordError(f"{place} {lacking(list(tree), field)}")
    return checked("" if chosen[0] is None else tree[chosen[0]], tree[chosen[1]], place)


def _csv_record(row: list[str], place: str, columns: list[int], width: int) -> Record:
    if len(row) != width:
        return BadRecordError(f"{place}: {len(row)} fields, where the header has {width}")
    prompt, text = (row[column] if column >= 0 else "" for column in columns)
    return checked(prompt, text, place)


def _lines(file: BinaryIO) -> Iterator[bytes | BadRecordError]:
    """Yield lines, never holding more than a record's worth of one."""
    while line := file.readline(LONGEST_RECORD + 1):
        if len(line) > LONGEST_RECORD:
            while line and not line.endswith(b"\n"):
                line = file.readline(LONGEST_RECORD)
            yield BadRecordError(f"longer than {LONGEST_RECORD >> 20} MiB")
        else:
            yield line


def _bounded(text: io.TextIOWrapper, name: str) -> Iterator[str]:
    number = 0
    while line := text.readline(LONGEST_RECORD + 1):
        number += 1
        if len(line) > LONGEST_RECORD:
            raise DataError(
                f"{name}, line {number} is longer than {LONGEST_RECORD >> 20} MiB; is it a table?"
            )
        yield line
