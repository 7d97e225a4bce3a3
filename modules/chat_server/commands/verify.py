"""`dialogs verify`."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import Final

import typer

from potoserver import folder_name

from ..journal.layout import Layout, user_of
from .findings import Finding, Kind
from .folder import DialogFolder
from .inspection import Counts, Inspection, all_names, count_archives
from .mending import Mender
from .output import Column, Rows, Work, counted, plain_console, print_json, warn
from .owned import owned_journal

_SECOND_LOOK_S: Final = 0.3
"""A server that runs needs less than this between a marker, a first write and a rename."""


def verify(folder: DialogFolder, user_id: str | None, *, as_json: bool, repair: bool) -> int:
    """Reads every file and prints what is wrong.

    Args:
        folder: Of the dialogs.
        user_id: Whose; None for everybody's, and what all users share.
        as_json: One JSON object for each finding.
        repair: Mends what can be mended without the loss of a word.

    Returns:
        The exit status: 0 when nothing is wrong (any more), else 1.
    """
    layout, disk = folder.layout, folder.disk
    names = all_names(layout, disk) if user_id is None else _name_of(folder, user_id)
    with ExitStack() as stack:
        mender = None
        if repair:
            mender = Mender(layout, stack.enter_context(owned_journal(folder.data_dir)))
        work = Work("Reading", sum(count_archives(layout, disk, name) for name in names))
        stack.enter_context(work.shown())
        looked = _Looked(folder, mender, work)
        report = _Report(folder, work, as_json=as_json)
        if user_id is None:
            report.add(looked.top())
        for name in names:
            report.add(looked.user(name))
        report.rows.print()
    report.conclude(looked.inspection.counts)
    return 1 if report.wrong else 0


def _name_of(folder: DialogFolder, user_id: str) -> list[str]:
    folder.chosen(user_id)
    return [folder_name(user_id)]


class _Looked:
    """Looks, looks again where a server was at work, mends, and looks whether that helped."""

    def __init__(self, folder: DialogFolder, mender: Mender | None, work: Work) -> None:
        self._folder = folder
        self._mender = mender
        self._served = mender is None and is_served(folder.layout)
        self.inspection = Inspection(folder.layout, folder.disk, work.step)

    def top(self) -> Iterator[tuple[Finding, bool]]:
        """What is wrong with what all users share, and whether it was mended."""
        found = list(self.inspection.top())
        if self._mender is not None and found:
            self._mender.mend(None, found)
            yield from _compared(found, list(self._again().top()))
        else:
            yield from ((each, False) for each in found)

    def user(self, name: str) -> Iterator[tuple[Finding, bool]]:
        """What is wrong with one user's files, and whether it was mended."""
        found = list(self.inspection.user(name))
        if self._served and any(_may_pass(each) for each in found):
            time.sleep(_SECOND_LOOK_S)
            still = {(each.kind, each.path) for each in self._again().user(name)}
            found = [each for each in found if (each.kind, each.path) in still]
        if self._mender is not None and found:
            self._mender.mend(user_of(name), found)
            yield from _compared(found, list(self._again().user(name)))
        else:
            yield from ((each, False) for each in found)

    def _again(self) -> Inspection:
        return Inspection(self._folder.layout, self._folder.disk, lambda: None)


def _may_pass(finding: Finding) -> bool:
    """Whether a server that writes just now may look like this."""
    live = finding.path.name == "current.yaml" or finding.path.parent.name == "open"
    return live or finding.kind in {Kind.DUPLICATE, Kind.LEFTOVER}


def _compared(before: Sequence[Finding], after: Sequence[Finding]) -> Iterator[tuple[Finding, bool]]:
    left = {(each.kind, each.path) for each in after}
    known = {(each.kind, each.path) for each in before}
    yield from ((each, (each.kind, each.path) not in left) for each in before)
    yield from ((each, False) for each in after if (each.kind, each.path) not in known)


def is_served(layout: Layout) -> bool:
    """Whether a server, or a command that changes something, holds the folder now."""
    try:
        with layout.lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass  # nobody has made it yet, or nobody may
    return False


class _Report:
    """Prints findings as they come."""

    def __init__(self, folder: DialogFolder, work: Work, *, as_json: bool) -> None:
        self._root = folder.data_dir
        self._as_json = as_json
        wide = max(24, plain_console().width * 2 // 5)
        columns = (Column("what", 10), Column("file", wide), Column("mended", 6), Column("says", wraps=True))
        self.rows = Rows(columns, work)
        self.wrong = 0
        self._mended = 0

    def add(self, findings: Iterator[tuple[Finding, bool]]) -> None:
        for each, mended in findings:
            self.wrong += not mended
            self._mended += mended
            path = str(each.path.relative_to(self._root))
            if self._as_json:
                print_json(
                    {
                        "kind": each.kind.value,
                        "user": each.user_id,
                        "file": path,
                        "says": each.says,
                        "mended": mended,
                    }
                )
            else:
                self.rows.add(each.kind.value, path, "yes" if mended else "", each.says)

    def conclude(self, counts: Counts) -> None:
        verdict = counted(self.wrong, "finding") if self.wrong else "nothing is wrong"
        mended = f", {self._mended} mended" if self._mended else ""
        read = ", ".join(
            (
                counted(counts.users, "user"),
                counted(counts.archives, "archive"),
                counted(counts.messages, "message"),
            )
        )
        if self._as_json:
            warn(f"{read}: {verdict}{mended}")
        else:
            typer.echo(f"{read}: {verdict}{mended}")
