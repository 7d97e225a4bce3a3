"""What is typed behind a slash: /archives, /open, /restore and so on."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from potoserver.client import PotoClient

from ..output import print_json
from .view import View
from .words import clock_of_archive

PAGE: Final = 20
REMEMBERED: Final = 10_000
"""So many messages and calls, the newest ones."""
_SHOWN_AFTER_RESTORE: Final = 10


class UsageError(Exception):
    """What was typed is no command, or lacks something; its text says what is right."""


@dataclass(frozen=True, slots=True)
class _Command:
    run: Callable[[str], Awaitable[None]]
    argument: str
    about: str


class Slash:
    """The commands of the chat.

    Args:
        client: The server.
        view: Where their results are shown.
        as_json: Prints each result as a line of JSON instead.

    Attributes:
        told: Ids of archives that were announced already, by a command or by an event.
        newest: The archive that was told of last, which a `/restore` without an id means.
        seen: Ids of messages that are on the screen, or were left out, to tell after a gap which are not.
    """

    def __init__(self, client: PotoClient, view: View, *, as_json: bool = False) -> None:
        self._chat = client.module("ChatServerModule")
        self._view = view
        self._as_json = as_json
        self._listed: list[str] = []
        self._more: Callable[[], Awaitable[None]] | None = None
        self.told: set[str] = set()
        self.newest: str | None = None
        self.seen: deque[str] = deque(maxlen=REMEMBERED)
        self._commands: Mapping[str, _Command] = {
            "/end": _Command(self._end, "", "archive the dialog now"),
            "/archives": _Command(self._archives, "", "list what is archived, newest first"),
            "/search": _Command(self._search, "WORDS", 'find words, or "a phrase", in what is archived'),
            "/more": _Command(self._next_page, "", "the next page of the list or the search"),
            "/open": _Command(self._open, "ID", "show an archive, by its id or its number in the list"),
            "/restore": _Command(
                self._restore, "[ID]", "go on with an archive; without ID the one just told of"
            ),
            "/stop": _Command(self._stop, "", "stop the reply that is growing, as Ctrl+C does"),
            "/help": _Command(self._help, "", "this list"),
            "/quit": _Command(self._quit, "", "leave, as Ctrl+D does"),
        }
        self.wants_to_leave = False

    @property
    def names(self) -> list[str]:
        """The commands, to complete them."""
        return list(self._commands)

    async def run(self, line: str) -> None:
        """Does what a line with a slash says.

        Raises:
            UsageError: It says nothing that there is.
            ClientError: The server said no, or can't be reached.
        """
        name, _, argument = line.strip().partition(" ")
        command = self._commands.get(name)
        if command is None:
            raise UsageError(f"There is no {name}; /help lists what there is. A message may begin with //.")
        argument = argument.strip()
        if argument and not command.argument:
            raise UsageError(f"{name} takes nothing behind it.")
        if not argument and command.argument and not command.argument.startswith("["):
            raise UsageError(f"{name} needs {command.argument} behind it.")
        await command.run(argument)

    async def _end(self, _: str) -> None:
        ended = await self._chat.endSession()
        archive_id = ended.get("archiveId")
        if self._as_json:
            print_json(ended)
        elif archive_id is None:
            self._view.note("There was nothing to archive.")
        elif archive_id not in self.told:
            self.told.add(archive_id)
            self.newest = archive_id
            self._view.note(f"Archived as {archive_id}; /restore goes on with it.")

    async def _archives(self, _: str) -> None:
        self._listed.clear()
        await self._page_of_archives(None)

    async def _page_of_archives(self, cursor: str | None) -> None:
        page = await self._chat.listArchives(limit=PAGE, cursor=cursor)
        if self._as_json:
            print_json(page)
        elif page["archives"]:
            self._view.archives(page["archives"], len(self._listed) + 1)
        else:
            self._view.note("Nothing is archived.")
        self._list([each["id"] for each in page["archives"]], page["cursor"], self._page_of_archives)

    async def _search(self, words: str) -> None:
        self._listed.clear()
        await self._page_of_matches(words, None)

    async def _page_of_matches(self, words: str, cursor: str | None) -> None:
        matches: list[dict[str, Any]] = []
        while True:
            page = await self._chat.searchArchives(query=words, limit=PAGE, cursor=cursor)
            if self._as_json:
                print_json(page)
            matches += page["matches"]
            cursor = page["cursor"]
            # A page may be short, even empty, since the server bounds what it reads for one call.
            if cursor is None or len(matches) >= PAGE:
                break
        if not self._as_json and matches:
            self._view.matches(matches, len(self._listed) + 1)
        elif not self._as_json:
            self._view.note("Nothing was found.")
        self._list(
            [each["archiveId"] for each in matches], cursor, lambda next_: self._page_of_matches(words, next_)
        )

    def _list(self, ids: list[str], cursor: str | None, turn: Callable[[str], Awaitable[None]]) -> None:
        self._listed += ids
        self._more = None
        if cursor is not None:
            self._more = lambda: turn(cursor)
            if not self._as_json:
                self._view.note("/more shows what comes next.")

    async def _next_page(self, _: str) -> None:
        if self._more is None:
            raise UsageError("There is no further page.")
        await self._more()

    async def _open(self, which: str) -> None:
        dialog = await self._chat.getArchive(id=self._id_of(which))
        if self._as_json:
            print_json(dialog)
        else:
            self._view.archive(dialog)

    async def _restore(self, which: str) -> None:
        if not which and self.newest is None:
            raise UsageError("/restore needs an ID behind it; /archives lists what there is.")
        archive_id = self._id_of(which) if which else str(self.newest)
        restored = await self._chat.restoreArchive(id=archive_id)
        if self._as_json:
            print_json(restored)
            return
        superseded = restored.get("superseded")
        if superseded and superseded not in self.told:
            self.told.add(superseded)
            self._view.note(f"What you were in is archived as {superseded}.")
        self.tell_restored(archive_id)
        messages = (await self._chat.getConversation())["messages"]
        self.seen.extend(each["id"] for each in messages)
        self._view.messages(messages[-_SHOWN_AFTER_RESTORE:])

    def tell_restored(self, archive_id: str) -> None:
        """Says that an archive is the dialog now; once, whether a command or an event tells it first."""
        marker = f"restored {archive_id}"
        if marker not in self.told:
            self.told.add(marker)
            self.told.discard(archive_id)
            at = clock_of_archive(archive_id)
            self._view.note(f"The dialog of {at or archive_id} goes on.")

    async def _stop(self, _: str) -> None:
        stopped = await self._chat.stopGeneration()
        if self._as_json:
            print_json(stopped)
        elif not stopped["stopped"]:
            self._view.note("No reply is growing.")

    async def _help(self, _: str) -> None:
        width = max(len(f"{name} {command.argument}") for name, command in self._commands.items())
        for name, command in self._commands.items():
            self._view.note(f"{f'{name} {command.argument}'.strip():{width}}  {command.about}")

    async def _quit(self, _: str) -> None:
        self.wants_to_leave = True

    def _id_of(self, which: str) -> str:
        """An archive's id, from that or from a number in the list."""
        if which.isascii() and which.isdigit() and 0 < int(which[:6]) <= len(self._listed):
            return self._listed[int(which) - 1]
        return which
