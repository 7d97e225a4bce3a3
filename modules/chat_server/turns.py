"""Turns: a user's calls one after the other, each question on disk before its reply is asked for."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol

from potoserver import BASE64_16, Call, Ids, ModuleContext, ProblemError, UnavailableError, User

from .announcer import Announcer
from .generation import ChatRequest, Cut, Generation, Reply, is_json
from .idempotency import RunningCalls, digest_of, find_first
from .journal.base import DialogueJournal
from .journal.errors import (
    DialogFullError,
    JournalError,
    UserFullError,
)
from .journal.records import Conversation, KeyedMessage, Message
from .lanes import Lanes, Ticket
from .metrics import ChatMetrics
from .reply_stream import DeltaMerger, ReplyStream
from .responders import Responder
from .sessions import Session
from .settings import ChatSettings
from .user_tasks import UserTasks
from .wire import ChatReply

_NOT_KEPT = "This message was not kept; send it again later."
_REPLY_NOT_KEPT = (
    "Your message is kept, the reply is not: repeat the call with the same Idempotency-Key, "
    "or ask again later."
)


class TurnSessions(Protocol):
    """What a turn needs of its user's session."""

    def call(self, user_id: str) -> Session | None:
        """A call has come: activity. Returns the session that it belongs to, None when there is none yet."""

    async def open(self, user_id: str, called: Session | None) -> Session:
        """The session of a call whose turn has come; begins one where there is none.

        Args:
            user_id: Who called.
            called: The session that the call belonged to when it came. It still does, unless an archive was
                restored in its place meanwhile.
        """


@dataclass(frozen=True, slots=True)
class _Turn:
    """One call on its way.

    Attributes:
        digest: Of its arguments; empty without an idempotency key.
        session: The session that it belonged to when it came, or None.
    """

    call: Call
    request: ChatRequest
    digest: str
    session: Session | None
    ticket: Ticket
    stream: ReplyStream


class Turns:
    """All chat calls.

    Args:
        context: The clock and logs.
        announcer: Tells the users' connections.
        tasks: Where turns run.
        settings: The chat's.
        journal: Where messages are kept.
        responder: Who answers.
        lanes: Each user's order.
        sessions: The sessions that calls belong to.
        finish_endings: Finishes a user's older dialogs, before a message of another one is appended.
        metrics: The chat's.
    """

    def __init__(
        self,
        context: ModuleContext,
        announcer: Announcer,
        tasks: UserTasks,
        settings: ChatSettings,
        journal: DialogueJournal,
        responder: Responder,
        lanes: Lanes,
        sessions: TurnSessions,
        finish_endings: Callable[[str], Awaitable[None]],
        metrics: ChatMetrics,
    ) -> None:
        self._context = context
        self._tasks = tasks
        self._clock = context.clock
        self._settings = settings
        self._journal = journal
        self._responder = responder
        self._lanes = lanes
        self._sessions = sessions
        self._finish_endings = finish_endings
        self._metrics = metrics
        self._announcer = announcer
        self._logger = context.logger("session:reply")
        self._lane_logger = context.logger("session:lane")
        self._message_ids = Ids(BASE64_16, "m-")
        self._running = RunningCalls()
        self._generations: dict[str, Generation] = {}
        self._stopping = False

    def accept(self, call: Call, request: ChatRequest) -> ReplyStream:
        """Takes a call's place in its user's lane, at once. It runs to its end, followed or not.

        Raises:
            ProblemError: 422, the key came with another request; 429, too many of the user's calls wait.
            UnavailableError: The server stops.
        """
        admitted = self._admit(call, request)
        if isinstance(admitted, ReplyStream):
            return admitted
        self._tasks.spawn(call.user.id, self._run(admitted), f"turn {call.request_id}")
        return admitted.stream

    async def answer(self, call: Call, request: ChatRequest) -> ChatReply:
        """As `accept`, in the task that awaits it: one of the server's own, which no caller's going ends.

        Raises:
            ProblemError: As `accept`; or there is no reply.
        """
        admitted = self._admit(call, request)
        if isinstance(admitted, ReplyStream):
            return await admitted.answer()
        try:
            with self._tasks.here(call.user.id):
                await self._run(admitted)
        except asyncio.CancelledError:
            pass  # the call ends with what the turn says of that
        return await admitted.stream.answer()

    def _admit(self, call: Call, request: ChatRequest) -> _Turn | ReplyStream:
        """A turn whose place is taken; or the reply that the first call with the same key is growing."""
        self._refuse_when_stopping()
        digest = digest_of(dataclasses.asdict(request)) if call.idempotency_key is not None else ""
        running = self._running.find(call, digest)
        if running is not None:
            return running
        if self._lanes.length(call.user.id) >= self._settings.pending_calls_per_user:
            raise ProblemError(
                429, "Too many of your calls are waiting; send the next one later.", retry_after_s=1
            )
        # Nothing is awaited here: what ends the session from now on queues up behind the call.
        session = self._sessions.call(call.user.id)
        turn = _Turn(call, request, digest, session, self._lanes.join(call.user.id), ReplyStream())
        self._running.add(call, digest, turn.stream)
        self._log_lane("lane joined", call)
        return turn

    def stop_generation(self, user_id: str) -> bool:
        """Ends the user's growing reply, keeping what there is of it. Tells whether there was one."""
        generation = self._generations.get(user_id)
        return generation is not None and generation.cut(Cut.STOPPED)

    def reply_until_ms(self, user_id: str) -> int | None:
        """When the user's reply in flight ends at the latest, in wall ms; None without one."""
        generation = self._generations.get(user_id)
        return generation.until_ms if generation is not None else None

    def stop(self) -> None:
        """Refuses the calls that wait and those to come; the replies in flight go on."""
        self._stopping = True

    def cut_all(self) -> None:
        """Ends every reply in flight, keeping what there is of each."""
        for generation in list(self._generations.values()):
            generation.cut(Cut.SHUTDOWN)

    def _refuse_when_stopping(self) -> None:
        if self._stopping or self._context.draining:
            raise UnavailableError("The server is stopping; try again in a moment.")

    def _log_lane(self, event: str, call: Call) -> None:
        user_id = call.user.id
        self._lane_logger.debug(
            event, user=user_id, request=call.request_id, queue=self._lanes.length(user_id)
        )

    async def _run(self, turn: _Turn) -> None:
        """One turn. A failure is the caller's answer, not this task's."""
        user_id = turn.call.user.id
        outcome: ChatReply | Exception = UnavailableError("The call was cut off; try again in a moment.")
        try:
            async with turn.ticket:
                self._log_lane("turn begins", turn.call)
                self._refuse_when_stopping()
                # There from the first moment, so that a shutdown finds every turn that it did not refuse.
                generation = self._generations[user_id] = Generation(
                    self._clock,
                    self._context.presence_now_ms(),
                    self._settings.reply_timeout_s,
                    self._settings.reply_max_chars,
                )
                try:
                    outcome = await self._answer(turn, generation)
                finally:
                    del self._generations[user_id]
        except ProblemError as problem:
            outcome = problem
        except Exception as error:
            outcome = error
            raise
        finally:
            self._running.remove(turn.call)
            turn.stream.finish(outcome)

    async def _answer(self, turn: _Turn, generation: Generation) -> ChatReply:
        user = turn.call.user
        with _SaidOfTheMessage("This call kept nothing; repeat it later with the same Idempotency-Key."):
            first = await find_first(self._journal, turn.call, turn.digest, self._context.presence_now_ms)
        if first is not None and first.reply is not None and first.replied_in is not None:
            self._metrics.replies.labels("repeated").inc()
            # Who reads the reply off its pieces gets it too: all of it in one.
            turn.stream.append(first.reply.content, first.reply.reasoning or "")
            return _chat_reply(turn.request, first.replied_in, first.reply)
        with _SaidOfTheMessage(_REPLY_NOT_KEPT if first else _NOT_KEPT):
            session = await self._sessions.open(user.id, turn.session)
            await self._finish_endings(user.id)
        question = first.question if first else await self._keep_question(turn, session.conversation)
        with _SaidOfTheMessage(_REPLY_NOT_KEPT):
            history = await self._history(user, question, first)
        message = await self._reply(turn, generation, session.conversation, question, history, first)
        return _chat_reply(turn.request, session.conversation, message)

    async def _keep_question(self, turn: _Turn, conversation: Conversation) -> Message:
        user = turn.call.user
        message = Message(
            role="user",
            content=turn.request.message,
            id=self._message_ids.next(),
            timestamp_ms=self._context.presence_now_ms(),
            idempotency_key=turn.call.idempotency_key,
            request_digest=turn.digest or None,
        )
        try:
            question = await self._journal.add_message(user, message, conversation)
        except UserFullError:
            self._context.set_alarm("user-full", lapses=True, user=user.id)
            raise
        await self._announcer.message(user.id, conversation.id, question, turn.call.request_id)
        return question

    async def _history(self, user: User, question: Message, first: KeyedMessage | None) -> list[Message]:
        """The dialog up to and with the question."""
        if not self._responder.uses_history:
            return [question]
        if first is not None:
            return [*first.history, question]
        return await self._journal.get_conversation(user)

    async def _reply(
        self,
        turn: _Turn,
        generation: Generation,
        conversation: Conversation,
        question: Message,
        history: list[Message],
        first: KeyedMessage | None,
    ) -> Message:
        """Has the reply made, keeps it, and tells of it."""
        user_id, request_id, reply_id = turn.call.user.id, turn.call.request_id, self._message_ids.next()
        merger = DeltaMerger(
            self._clock,
            lambda text: self._announcer.delta(user_id, conversation.id, reply_id, text, request_id),
        )
        about = {"user": user_id, "request": request_id, "message": reply_id}
        self._logger.debug("reply begins", **about, history=len(history))
        outcome = "failed"
        started_s = self._clock.monotonic_s()
        try:
            try:
                reply = await generation.run(self._responder, turn.request, history, turn.stream, merger)
            finally:
                await merger.finish()
            try:
                message = await self._keep_reply(
                    turn.call.user, conversation, question, first, reply_id, reply
                )
            except DialogFullError as error:
                raise JournalError(
                    507,
                    "This dialog has reached its largest size. Your message is kept, the reply is not: end "
                    "the session, then repeat the call with the same Idempotency-Key.",
                ) from error
            except JournalError as error:
                # What the journal says of "the message" is about the reply here.
                why = "There is no room for the reply." if error.status == 507 else "The reply can't be kept."
                detail = f"{why} {_REPLY_NOT_KEPT}"
                raise JournalError(error.status, detail, retry_after_s=error.retry_after_s) from error
            outcome = "interrupted" if reply.interrupted else "whole"
        except ProblemError as problem:
            self._logger.warning(
                "reply failed",
                user=user_id,
                request=request_id,
                status=problem.status,
                detail=problem.detail,
                exc_info=problem.__cause__,
            )
            await self._announcer.failed(user_id, conversation.id, reply_id, request_id, problem)
            raise
        finally:
            self._metrics.replies.labels(outcome).inc()
            took_s = self._clock.monotonic_s() - started_s
            self._metrics.reply_seconds.observe(took_s)
            self._logger.debug(
                "reply ends", **about, outcome=outcome, chars=turn.stream.length, ms=round(took_s * 1000, 1)
            )
        await self._announcer.message(user_id, conversation.id, message, request_id, finishes=True)
        return message

    async def _keep_reply(
        self,
        user: User,
        conversation: Conversation,
        question: Message,
        first: KeyedMessage | None,
        reply_id: str,
        reply: Reply,
    ) -> Message:
        # A question that an earlier call has left may have others behind it by now, or be archived.
        follows = first is None
        if first is not None and first.conversation.id == conversation.id:
            messages = await self._journal.get_conversation(user)
            follows = bool(messages) and messages[-1].id == question.id
        return await self._journal.add_message(
            user,
            Message(
                role="assistant",
                content=reply.text,
                id=reply_id,
                timestamp_ms=self._context.presence_now_ms(),
                model=reply.model,
                reasoning=reply.reasoning,
                finish_reason=reply.finish_reason,
                interrupted=reply.interrupted,
                reply_to=None if follows else question.id,
            ),
            conversation,
        )


class _SaidOfTheMessage:
    """Has the journal's problem say what became of the caller's message, which it does not know.

    Args:
        fate: That, in a sentence.
    """

    def __init__(self, fate: str) -> None:
        self._fate = fate

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if isinstance(error, JournalError):
            detail = f"{error.detail} {self._fate}"
            raise JournalError(error.status, detail, retry_after_s=error.retry_after_s) from error


def _chat_reply(request: ChatRequest, conversation: Conversation, message: Message) -> ChatReply:
    """The answer that a kept reply is; the same for the first call and for each repeat.

    Raises:
        ProblemError: 409, JSON was asked for, and the reply was stopped before it was any.
    """
    if request.json_output and message.interrupted and not is_json(message.content):
        raise ProblemError(
            409,
            "The reply was stopped before it was whole, so it is not JSON, as jsonOutput asks. "
            "What there is of it is kept in the conversation.",
        )
    return ChatReply(
        conversation_id=conversation.id,
        message_id=message.id,
        reply=message.content,
        reasoning=message.reasoning,
        finish_reason=message.finish_reason,
    )
