"""ChatServerModule: the chat's hooks and methods."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field
from typing_extensions import override

from potoserver import (
    Call,
    Cause,
    Check,
    Connection,
    Departure,
    Done,
    ServerModule,
    UnavailableError,
    User,
    rpc,
)

from .announcer import Announcer
from .archive_desk import ArchiveDesk
from .archive_methods import ArchiveMethods
from .archive_reader import ArchiveReader
from .disk_alarms import DiskAlarms
from .generation import ChatRequest
from .importing import Importer
from .journal.base import DialogueJournal
from .journal.filesystem import FileSystemDialogueJournal
from .journal.records import Reason
from .lanes import Lanes
from .lifecycle import SessionLife
from .metrics import ChatMetrics
from .reads import Reads
from .responders import Responder, create_responder
from .restorer import Restorer
from .retention import Retention
from .session_methods import SessionMethods
from .sessions import Session
from .sessions_here import SessionsHere
from .settings import ChatSettings
from .startup_checks import startup_checks
from .stopping import Stopping
from .titler import Titler
from .turns import Turns
from .user_tasks import UserTasks
from .watching import Watching
from .wire import (
    ChatReply,
    ConversationView,
    ReplyDelta,
    StopResult,
)

if TYPE_CHECKING:
    import typer

_FOR_ARCHIVES_S = 0.5
"""Of the time to stop, what is left for archives at least, once the replies in flight are cut."""


class UnfinishedError(Exception):
    """At the stop some dialogs could not be archived; the next start finds them."""


class ChatServerModule(ArchiveMethods, SessionMethods, ServerModule):
    """The chat: a dialog for each user, answered by a responder, archived when the user has left.

    Args:
        journal: Where dialogs are kept; without one, files under the data folder.
        responder: Who answers; without one, the one that the settings name.
    """

    section = "chat"
    homed = True
    settings_model = ChatSettings
    connected_field_names = ("conversation", "archived")

    def __init__(self, journal: DialogueJournal | None = None, responder: Responder | None = None) -> None:
        self._given_journal = journal
        self._given_responder = responder

    # Hooks

    @override
    async def on_start(self) -> None:
        context = self.context
        settings: ChatSettings = context.settings
        self._settings = settings
        # A departure's hook waits for the reply in flight, and for the archive after it.
        self.hook_timeout_s = settings.reply_timeout_s + 30
        self._responder = self._given_responder or create_responder(
            settings, context.clock, context.logger("session:responder")
        )
        self.dialogue_journal = self._given_journal or FileSystemDialogueJournal(
            context.data_dir,
            clock=context.clock,
            fsync=settings.journal.fsync == "always",
            logger=context.logger,
            registry=context.registry,
            shared=context.homes.shared,
            user_bytes=context.user_bytes,
            watch=DiskAlarms(context),
        )
        self._lanes = Lanes()
        tasks = UserTasks(context)
        announcer = Announcer(context)
        self._reads = Reads(context.clock)
        self._titler = Titler(
            context,
            announcer,
            self.dialogue_journal,
            self._responder,
            self._reads,
            wanted=settings.archives.title_by_responder,
        )
        self._life = SessionLife(
            context, tasks, announcer, settings, self.dialogue_journal, self._lanes, self._titler.ask_for
        )
        self._desk = ArchiveDesk(announcer, settings, self.dialogue_journal, self._life, self._reads)
        self._reader = ArchiveReader(context, self.dialogue_journal, self._life, self._reads)
        self._restorer = Restorer(announcer, self.dialogue_journal, self._lanes, self._life, self._reads)
        self._stopping = Stopping(context, self._lanes, self._life, self._restorer)
        self._importer = Importer(context, announcer, self.dialogue_journal, self._life, self._reads)
        self._retention = Retention(
            context, announcer, settings.retention, self.dialogue_journal, self._life.notices
        )
        self._turns = Turns(
            context,
            announcer,
            tasks,
            settings,
            self.dialogue_journal,
            self._responder,
            self._lanes,
            self._life,
            self._life.archiver.finish_failed,
            ChatMetrics(
                context.registry,
                sessions=lambda: len(self._life.sessions),
                pending_archives=lambda: self._life.archiver.pending,
            ),
        )
        self._sessions_here = SessionsHere(context, settings, self.dialogue_journal, self._life, self._turns)
        self._watching = Watching(context, self.look_here)
        self._life.adoption.start(await self.dialogue_journal.start())
        self._retention.start()
        self.start_session_monitoring()

    @override
    async def on_stop(self) -> None:
        sessions = self._life.sessions
        if self.context.started:
            self.context.logger("session").info(
                "shutting down, archiving all active sessions", sessions=len(sessions)
            )
        self._monitoring.cancel()
        self._retention.stop()
        self._titler.stop()
        self._turns.stop()
        stop_s = self.context.stop_timeout_s
        for_replies_s = max(0.0, stop_s - max(_FOR_ARCHIVES_S, stop_s / 4))
        cut = self.context.clock.call_later(for_replies_s, self._turns.cut_all)
        try:
            await self._stopping.run(for_replies_s)
        finally:
            cut.cancel()
            try:
                await self._responder.close()
            finally:
                await self.dialogue_journal.close()
        if self.unfinished and self.context.started:
            raise UnfinishedError(f"{self.unfinished} dialogs are left for the next start")

    @override
    async def on_sse_connect(self, user_id: str) -> None:
        await self._life.arrive(user_id)

    @override
    async def on_connection_closed(self, connection: Connection, cause: Cause) -> None:
        await self._life.connection_closed(connection.user_id, connection.generation)

    @override
    async def on_sse_disconnect(self, user_id: str, departure: Departure) -> None:
        await self._life.depart(departure)

    @override
    async def connected_fields(self, user_id: str) -> Mapping[str, Any]:
        session = await self._life.arrive(user_id)
        return {
            "conversation": session.conversation.id if session else None,
            "archived": await self._life.notices.take(user_id),
        }

    @override
    async def on_home_gained(self, user_id: str, token: int) -> None:
        await self._life.gained(user_id, token)

    @override
    def on_home_lost(self, user_id: str) -> None:
        self._life.lost(user_id)

    @override
    def needs_home(self, user_id: str) -> bool:
        return self._life.needs_home(user_id)

    @override
    async def health_fields(self) -> Mapping[str, Any]:
        return {
            "activeSessions": len(self._life.sessions),
            "pendingArchives": self._life.archiver.pending,
            "dialogsLeftOpen": self._life.adoption.left_open,
        }

    # For the command line

    @override
    def startup_checks(self, settings: ChatSettings, data_dir: Path) -> Iterable[Check]:
        return startup_checks(settings, data_dir)

    @override
    def commands(self) -> Mapping[str, Callable[..., None] | typer.Typer]:
        from .commands import commands  # noqa: PLC0415 - a server that starts needs none of this

        return commands()

    # Sessions, under the names of the system's first description

    @property
    def user_sessions(self) -> Mapping[str, Session]:
        """The active sessions by user id."""
        return self._life.sessions

    @property
    def unfinished(self) -> int:
        """How many dialogs that should be archived are not."""
        return self._life.archiver.pending + self._life.adoption.left_open

    async def start_user_session(self, user_id: str, conversation_id: str | None = None) -> Session:
        """The user's session, begun where there is none.

        Args:
            user_id: Whose.
            conversation_id: Which conversation it must be; another one is ended, as `superseded`.

        Raises:
            UnavailableError: There is none, and no room for one.
        """
        await self._life.adoption.recovered(user_id)
        presence = await self.context.presence_of(user_id)
        session = self._life.sessions.get(user_id)
        if session is not None:
            if conversation_id in (None, session.conversation.id):
                return session
            self._life.end(session, Reason.SUPERSEDED)
        else:
            self._life.room.check(user_id)
        return self._life.start(user_id, presence, conversation_id)

    def update_user_activity(self, user_id: str) -> None:
        """Counts as activity of the user, like a chat call."""
        self._life.call(user_id)

    async def archive_user_dialog(self, user_id: str) -> str | None:
        """Sees the dialog of the user's ended session into the archive. An active one stays as it is.

        Returns:
            The archive's id; None where nothing was waiting, or it holds no message.

        Raises:
            JournalError: It could not be archived now; that is tried again until it is.
        """
        ending = self._life.archiver.ending_of(user_id)
        await self._life.archiver.finish(user_id)
        return ending.archive_id if ending is not None else None

    def start_session_monitoring(self) -> None:
        """Has the fallback look after the next interval, and so on."""
        self._monitoring = self.context.clock.call_later(
            self._settings.session_check_interval_ms / 1000,
            self._look,
        )

    def _look(self) -> None:
        self.context.spawn(self._check_sessions(), "session monitoring")

    async def _check_sessions(self) -> None:
        try:
            await self._life.end_idle()
        except UnavailableError as error:
            self.context.logger("session:monitoring").warning("sessions not checked", error=str(error))
        finally:
            if not self.context.draining:
                self.start_session_monitoring()

    # Methods for users

    @rpc
    async def chat_with_history(
        self,
        call: Call,
        message: Annotated[str, Field(min_length=1)],
        json_output: bool = False,
        reasoning_enabled: bool = False,
        system_prompt: str | None = None,
    ) -> AsyncIterator[ReplyDelta | Done[ChatReply]]:
        """Answers a message of the user's dialog; streams the reply as it grows.

        Args:
            call: Who asks, and how.
            message: What the user says.
            json_output: The reply is to be JSON.
            reasoning_enabled: The model is to think first; what it thought comes beside the reply.
            system_prompt: What the model is told before the dialog, for this reply alone. It is not kept.
        """
        request = ChatRequest(message, json_output, reasoning_enabled, system_prompt)
        if call.whole:
            yield Done(await self._turns.answer(call, request))
            return
        reply = self._turns.accept(call, request)
        async for item in reply.follow(call.pass_on):
            yield item

    @rpc
    async def stop_generation(self, user: User) -> StopResult:
        """Stops the reply that is growing; what there is of it is kept."""
        self._life.see(user.id)
        return StopResult(stopped=self._turns.stop_generation(user.id))

    @rpc
    async def get_conversation(self, user: User) -> ConversationView:
        """The user's current conversation."""
        await self._life.adoption.recovered(user.id)
        self._life.see(user.id)
        session = self._life.sessions.get(user.id)
        if session is None:
            return ConversationView(conversation_id=None, messages=())
        conversation_id = session.conversation.id
        async with self._reads.turn(user.id):
            # An older dialog that waits for its archive may still be the open one on disk.
            kept = await self.dialogue_journal.recover(user)
            if kept is None or kept.conversation.id != conversation_id:
                return ConversationView(conversation_id=conversation_id, messages=())
            messages = await self.dialogue_journal.get_conversation(user)
            return ConversationView.of(conversation_id, messages)
