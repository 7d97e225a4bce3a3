"""Adds archives from elsewhere to a user's, all of a call or none. Blocking."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from potoserver import FieldError, ProblemError

from .archives import Archives
from .dialog_yaml import MAX_FILE_BYTES, emit_footer, emit_head, emit_message
from .errors import UserFullError
from .layout import UserPaths, archive_order, second_name, with_suffix
from .records import ArchiveSummary, Dialog, ImportedDialog, ImportOutcome, Message
from .scan import summarize_dialog
from .tools import Tools
from .usage import in_blocks

_LONGEST_NAME: Final = 100
"""Of a conversation that gets another name for being there already with other words."""


@dataclass(frozen=True, slots=True)
class _New:
    """One that is added.

    Attributes:
        archive_id: What it will be called.
        dialog: What it holds.
        data: Its file's bytes.
    """

    archive_id: str
    dialog: Dialog
    data: bytes


class ArchiveImport:
    """Writes each file under a name that no reader looks at, and gives all of them their own at the end.

    A failure takes back what was written. A crash between two names leaves some of the archives, each whole;
    the same import done again adds the others. Meanwhile the user has a marker, by which the next start finds
    what a crash has left half-written, and removes it.

    Args:
        tools: What all users' dialogs share.
        archives: Knows those that are there.
    """

    def __init__(self, tools: Tools, archives: Archives) -> None:
        self._tools = tools
        self._disk = tools.disk
        self._archives = archives

    def add(
        self, user_id: str, given: Sequence[ImportedDialog], current: Dialog | None, current_bytes: int
    ) -> ImportOutcome:
        """See `DialogueJournal.import_archives`.

        Args:
            user_id: Whose they become.
            given: What is to be added.
            current: The user's open dialog.
            current_bytes: How large its file is.

        Raises:
            OSError: The disk refused; nothing was added.
            ProblemError: 422, one is larger than a dialog can be; 507, the user has no room for them.
        """
        paths = self._tools.layout.user(user_id)
        self._tools.recovery.refuse_links(paths)
        wanted = self._not_there(user_id, given, current)
        new = self._encoded(paths, wanted)
        outcome = ImportOutcome(
            tuple(summarize_dialog(each.archive_id, each.dialog) for each in new), len(given) - len(new)
        )
        if new:
            self._check_room(user_id, current_bytes, sum(in_blocks(len(each.data)) for each in new))
            try:
                self._write(paths, new, is_open=current is not None)
            except OSError:
                self._tools.usage.forget(user_id)
                raise
            for each in new:
                self._tools.usage.archived(user_id, len(each.data))
            self._settle_told(user_id, outcome.imported)
            self._tools.archive_log.info("archives imported", user=user_id, archives=len(new))
        return outcome

    def _not_there(
        self, user_id: str, given: Sequence[ImportedDialog], current: Dialog | None
    ) -> list[ImportedDialog]:
        """Those that are not there in any way: not themselves, not grown longer, not under another name."""
        there = self._archives.conversations(user_id)
        added: dict[str, Dialog] = {} if current is None else {current.conversation.id: current}
        wanted = []
        for each in given:
            dialog, name = each.dialog, each.dialog.conversation.id
            if name in added or name in there:
                if each.named_by_content:
                    continue
                known = added.get(name) or self._archives.get(user_id, there[name])
                if known is not None and _begins_with(known.messages, dialog.messages):
                    continue
                name = f"{name[:_LONGEST_NAME]}-{_digest(dialog.messages)}"
                if name in added or name in there:
                    continue
                dialog = replace(dialog, conversation=replace(dialog.conversation, id=name))
            added[name] = dialog
            wanted.append(replace(each, dialog=dialog))
        return wanted

    def _encoded(self, paths: UserPaths, wanted: Sequence[ImportedDialog]) -> list[_New]:
        names = {name.removesuffix(".yaml") for name in self._disk.names(paths.archived)}
        # What an export of them is called comes first, so that an import gives the same names.
        kept: dict[int, str] = {}
        for number, each in enumerate(wanted):
            name = each.wanted_id
            if (
                name is not None
                and self._is_free(name, each.dialog, names)
                and _names_its_end(name, each.dialog)
            ):
                kept[number] = name
                names.add(name)
        numbers: dict[str, int] = {}
        new = []
        for number, each in enumerate(wanted):
            archive_id = kept.get(number) or self._free_name(each.dialog, names, numbers)
            new.append(_New(archive_id, each.dialog, file_of(each)))
        return new

    def _free_name(self, dialog: Dialog, names: set[str], numbers: dict[str, int]) -> str:
        assert dialog.ended_ms is not None, "it has ended"
        second = second_name(dialog.ended_ms)
        number = numbers.get(second, 1)
        while not self._is_free(archive_id := with_suffix(second, number), dialog, names):
            number += 1
        numbers[second] = number
        names.add(archive_id)
        return archive_id

    def _is_free(self, archive_id: str, dialog: Dialog, names: set[str]) -> bool:
        former = self._tools.former
        return archive_id not in names and not former.is_of_another(
            dialog.user_id, archive_id, dialog.conversation.id
        )

    def _check_room(self, user_id: str, current_bytes: int, more_bytes: int) -> None:
        usage = self._tools.usage
        if not usage.knows(user_id):
            usage.measure(user_id)
        try:
            usage.check(user_id, in_blocks(current_bytes) + more_bytes)
        except UserFullError as error:
            try:
                if not usage.measure_again(user_id):
                    raise
                usage.check(user_id, in_blocks(current_bytes) + more_bytes)
            except UserFullError:
                raise error.of_an_import() from None

    def _write(self, paths: UserPaths, new: Sequence[_New], *, is_open: bool) -> None:
        """Writes them all; `is_open`: the user's dialog has a marker, which stays."""
        self._tools.recovery.mark(paths)  # so that a start finds what a crash leaves half-way
        made: list[Path] = []
        try:
            for folder in (paths.folder, paths.dialogs, paths.archived):
                self._disk.make_folder(folder)
                self._disk.sync_folder(folder.parent)
            for number, each in enumerate(new):
                staged = paths.staged(number)
                self._disk.remove(staged)  # a crash may have left it
                made.append(staged)
                handle = self._disk.open(staged, exclusive=True)
                try:
                    self._disk.write_all(handle, each.data)
                    self._disk.flush(handle)
                finally:
                    self._disk.close(handle)
            for number, each in enumerate(new):
                target = paths.archived / f"{each.archive_id}.yaml"
                made.append(target)
                self._disk.rename(paths.staged(number), target)
            self._disk.sync_folder(paths.archived)
        except OSError:
            if self._have_gone(made) and not is_open:
                self._tools.recovery.unmark_at_last(paths)
            raise
        if not is_open:
            self._tools.recovery.unmark_at_last(paths)

    def _have_gone(self, made: Sequence[Path]) -> bool:
        """Takes back what was written; False where something of it is left."""
        gone = True
        for path in made:
            try:
                self._disk.remove(path)
            except OSError:
                gone = False
        return gone

    def _settle_told(self, user_id: str, imported: Sequence[ArchiveSummary]) -> None:
        """An import is no news: nobody is told of the newest one as of a dialog that has just ended."""
        with suppress(OSError):  # they are there, whatever becomes of this
            newest = self._archives.page(user_id, 1, None).archives
            if newest and newest[0].id in {each.id for each in imported}:
                self._archives.mark_told(user_id, newest[0].id)


def _names_its_end(archive_id: str, dialog: Dialog) -> bool:
    order, ended_ms = archive_order(archive_id), dialog.ended_ms
    return order is not None and ended_ms is not None and order[0] == second_name(ended_ms)


def file_of(each: ImportedDialog) -> bytes:
    """The file that it becomes.

    Raises:
        ProblemError: 422, it is larger than a dialog can be.
    """
    dialog = each.dialog
    assert dialog.ended_ms is not None and dialog.reason is not None, "it has ended"
    data = emit_head(dialog.conversation, dialog.user_id, dialog.title, pinned=dialog.pinned)
    data += b"".join(map(emit_message, dialog.messages))
    data += emit_footer(dialog.ended_ms, dialog.reason, len(dialog.messages))
    if len(data) > MAX_FILE_BYTES:
        expected = f"must take at most {MAX_FILE_BYTES} bytes as a file"
        raise ProblemError(
            422,
            "These archives can't be imported; nothing was added.",
            errors=[FieldError(each.path, expected)],
        )
    return data


def _begins_with(known: Sequence[Message], messages: Sequence[Message]) -> bool:
    return tuple(map(_bare, known[: len(messages)])) == tuple(map(_bare, messages))


def _bare(message: Message) -> Message:
    """Without what no export holds."""
    return replace(message, idempotency_key=None, request_digest=None)


def _digest(messages: Sequence[Message]) -> str:
    return hashlib.sha256(b"".join(map(emit_message, map(_bare, messages)))).hexdigest()[:12]
