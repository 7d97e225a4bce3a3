"""Files of archives to import: an export, read line by line, or a list of messages."""

from __future__ import annotations

import io
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, Any, Final

import typer
from pydantic import TypeAdapter, ValidationError

from potoserver import ProblemError, visible

from ..importing.reading import read_archives, read_list
from ..importing.shapes import ImportedArchive, ListedMessage
from ..journal.archive_import import file_of
from ..journal.dialog_yaml import MAX_FILE_BYTES, MAX_MESSAGES
from ..journal.records import ImportedDialog

VERSION: Final = 1
MOST_TOLD: Final = 20

_WHOLE_BYTES: Final = 256 * 1024 * 1024
"""Of a file that is not laid out as an export is, and so has to be read at once."""
_LINE_BYTES: Final = 8 * MAX_FILE_BYTES
"""Of one archive on a line: JSON may take more than YAML."""
_LIST: Final = TypeAdapter(list[ListedMessage])


class BadImportError(Exception):
    """What was to be imported can't be.

    Attributes:
        faults: What is wrong, each with its place; the first of them, if there are very many.
    """

    def __init__(self, faults: list[str]) -> None:
        super().__init__(faults[0])
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Batch:
    """Some archives of a file.

    Attributes:
        raw: As they stand there.
        bytes: How many bytes they take there.
        dialogs: What they are.
    """

    raw: list[Any]
    bytes: int
    dialogs: list[ImportedDialog]


class ImportFile:
    """A file that can be read several times.

    Args:
        file: Open for reading, seekable.
        user_id: Whose the archives become; None for the user that the file names.
        title: Of a list of messages.
        now_ms: Wall time, milliseconds since 1970 UTC.

    Attributes:
        user_id: Whose they become; None where nobody said.
        messages: The list, where it is one.

    Raises:
        BadImportError: It is neither an export nor a list.
    """

    def __init__(self, file: IO[bytes], user_id: str | None, title: str | None, now_ms: int) -> None:
        self._file = file
        self._title = title
        self._now_ms = now_ms
        self._whole: list[Any] | None = None
        self.messages: list[Any] | None = None
        head = self._head()
        if head is None:
            loaded = self._read_whole()
            self._begin_whole(loaded)
            head = loaded if isinstance(loaded, dict) else {}
        if head.get("potoserver", VERSION) != VERSION:
            raise BadImportError([f"this reads exports of version {VERSION}"])
        if title is not None and self.messages is None:
            raise typer.TyperException(
                "--title goes with a list of messages; archives have titles of their own"
            )
        own = head.get("user")
        self.user_id = user_id if user_id is not None else own if isinstance(own, str) else None

    def _head(self) -> dict[str, Any] | None:
        """The first line of an export with an archive a line; None for anything else."""
        self._file.seek(0)
        first = self._file.readline(4096)
        try:
            head = json.loads(first.rstrip() + b"]}") if first.rstrip().endswith(b'"archives":[') else None
        except ValueError:
            return None
        return head if isinstance(head, dict) else None

    def _read_whole(self) -> Any:
        self._file.seek(0)
        data = self._file.read(_WHOLE_BYTES + 1)
        if len(data) > _WHOLE_BYTES:
            raise BadImportError([f"it is larger than {_WHOLE_BYTES} bytes, and has not an archive a line"])
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise BadImportError([f"it is no JSON: {error}"]) from None

    def _begin_whole(self, loaded: Any) -> None:
        if isinstance(loaded, list):
            self.messages = loaded
        elif isinstance(loaded, dict) and isinstance(loaded.get("messages"), list):
            self.messages = loaded["messages"]
        elif isinstance(loaded, dict) and isinstance(loaded.get("archives"), list):
            self._whole = loaded["archives"]
        else:
            raise BadImportError(["it is neither an export (`archives`) nor a list of messages"])

    @property
    def size(self) -> int:
        """Of the file, in bytes."""
        return self._file.seek(0, io.SEEK_END)

    def check(self, step: Callable[[int], None]) -> int:
        """Reads all of it.

        Args:
            step: Told how many bytes further it is.

        Returns:
            How many archives it holds.

        Raises:
            BadImportError: Something in it can't be imported.
        """
        faults: list[str] = []
        count = 0
        for number, raw, size in self._archives():
            count += 1
            step(size)
            try:
                self._dialogs(raw, number)
            except BadImportError as error:
                faults += error.faults
            if len(faults) >= MOST_TOLD:
                break
        if not count:
            faults.append("it holds no archive")
        if faults:
            raise BadImportError(faults)
        return count

    def batches(self, most_bytes: int, most: int) -> Iterator[Batch]:
        """All of it, some at a time; of a list the one dialog that it is."""
        kept = Batch([], 0, [])
        for number, raw, size in self._archives():
            if kept.raw and (kept.bytes + size > most_bytes or len(kept.raw) == most):
                yield kept
                kept = Batch([], 0, [])
            dialogs = [*kept.dialogs, *self._dialogs(raw, number)]
            kept = Batch([*kept.raw, raw], kept.bytes + size, dialogs)
        if kept.raw:
            yield kept

    def _archives(self) -> Iterator[tuple[int, Any, int]]:
        """The number, the value and the size of each archive; of a list that of the whole."""
        if self.messages is not None:
            yield 0, self.messages, 0
        elif self._whole is not None:
            yield from ((number, raw, len(json.dumps(raw))) for number, raw in enumerate(self._whole))
        else:
            yield from self._lines()

    def _lines(self) -> Iterator[tuple[int, Any, int]]:
        self._file.seek(0)
        self._file.readline(4096)
        number = 0
        while line := self._file.readline(_LINE_BYTES):
            if line.startswith(b"]"):
                return
            try:
                yield number, json.loads(line.rstrip().removesuffix(b",")), len(line)
            except (ValueError, RecursionError) as error:
                raise BadImportError([f"archives.{number}: it is no JSON: {error}"]) from None
            number += 1
        raise BadImportError(["its end is missing: it was cut off"])

    def _dialogs(self, raw: Any, number: int) -> list[ImportedDialog]:
        user_id, own = self.user_id or "nobody", f"archives.{number}"
        try:
            if self.messages is not None:
                listed = _LIST.validate_python(raw, strict=True)
                if len(listed) > MAX_MESSAGES:
                    raise BadImportError([f"messages: must be at most {MAX_MESSAGES}"])
                dialogs = read_list(user_id, listed, self._title, self._now_ms)
            else:
                # As JSON, where strictness knows a list from a tuple.
                archive = ImportedArchive.model_validate_json(json.dumps(raw))
                # By its place in the file: the journal tells those of a batch apart by that.
                dialogs = [
                    replace(each, path=own) for each in read_archives(user_id, [archive], self._now_ms)
                ]
            for each in dialogs:
                file_of(each)
        except ValidationError as error:
            raise BadImportError(
                [
                    f"{self._at(number, *map(str, each['loc']))}: {each['msg']}"
                    for each in error.errors(include_url=False)[:MOST_TOLD]
                ]
            ) from None
        except ValueError as error:  # a lone surrogate, which no file can keep
            raise BadImportError([f"{self._at(number)}: {error}"]) from None
        except ProblemError as error:
            faults = [f"{each.field.replace('archives.0', own, 1)}: {each.message}" for each in error.errors]
            raise BadImportError(faults) from None
        return dialogs

    def _at(self, number: int, *inside: str) -> str:
        begin = ("messages",) if self.messages is not None else ("archives", str(number))
        return ".".join(filter(None, (*begin, *inside)))


def open_import(path: str) -> IO[bytes]:
    """The file, or a copy of the input for `-`.

    Raises:
        typer.TyperException: It can't be read.
    """
    if path == "-":
        copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
        while data := sys.stdin.buffer.read(io.DEFAULT_BUFFER_SIZE):
            copy.write(data)
        return copy
    try:
        return Path(path).open("rb")
    except OSError as error:
        raise typer.TyperException(f"{visible(path)} can't be read: {error.strerror}") from None
