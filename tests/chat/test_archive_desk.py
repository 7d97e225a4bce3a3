"""What users do with their archives, as the chat's module does it and tells of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from potoserver import ProblemError, User

from .support import A1, Chat

B2 = User("b2", roles=frozenset({"user"}))


@pytest.fixture
async def chat(tmp_path: Path) -> AsyncIterator[Chat]:
    async with Chat.in_memory(tmp_path) as chat:
        yield chat


async def archived(chat: Chat, text: str = "Tell me of trees") -> str:
    await chat.ask(text)
    archive_id = (await chat.module.end_user_session(A1.id)).archive_id
    assert archive_id is not None
    return archive_id


def events(chat: Chat, kind: str) -> list[Any]:
    """The data of the user's events of that kind."""
    return [event.data for user, event in chat.context.published if (user, event.type) == (A1.id, kind)]


def told(problem: ProblemError) -> tuple[int, str, str, str]:
    """The status, the detail, and the field with what was expected."""
    (error,) = problem.errors
    return problem.status, problem.detail, error.field, error.message


async def test_an_archive_is_called_by_its_first_words_until_it_gets_a_title(chat: Chat) -> None:
    """In lists and on its own alike; the title taken away, it is called so again."""
    archive_id = await archived(chat)
    (entry,) = (await chat.module.list_archives(A1)).archives
    assert (entry.title, entry.pinned) == ("Tell me of trees", False)
    named = await chat.module.rename_archive(A1, archive_id, "  Trees  &\u202e woods ")
    assert named.title == "Trees & woods"
    assert (await chat.module.get_archive(A1, archive_id)).title == "Trees & woods"
    assert (await chat.module.rename_archive(A1, archive_id, "")).title == "Tell me of trees"
    await chat.module.rename_archive(A1, archive_id, "x")
    assert (await chat.module.rename_archive(A1, archive_id, None)).title == "Tell me of trees"


async def test_a_change_is_told_to_the_users_connections(chat: Chat) -> None:
    """With what it has come to, so that no page has to ask."""
    archive_id = await archived(chat)
    await chat.module.rename_archive(A1, archive_id, "Trees")
    await chat.module.pin_archive(A1, archive_id, True)
    await chat.module.pin_archive(A1, archive_id, False)
    await chat.module.delete_archive(A1, archive_id)
    assert events(chat, "archives") == [
        {"change": "renamed", "id": archive_id, "title": "Trees", "pinned": False},
        {"change": "pinned", "id": archive_id, "title": "Trees", "pinned": True},
        {"change": "pinned", "id": archive_id, "title": "Trees", "pinned": False},
        {"change": "deleted", "id": archive_id, "title": None, "pinned": None},
    ]


async def test_pinned_archives_are_listed_alone(chat: Chat) -> None:
    """So that a page can show them on top."""
    first, second = await archived(chat, "one"), await archived(chat, "two")
    await chat.module.pin_archive(A1, first, True)
    assert [each.id for each in (await chat.module.list_archives(A1, pinned=True)).archives] == [first]
    assert [each.id for each in (await chat.module.list_archives(A1, pinned=False)).archives] == [second]


async def test_archives_are_listed_in_pages(chat: Chat) -> None:
    """Each cursor leads to the next page, the last has none; what is no cursor is 422, named."""
    ids = [await archived(chat, text) for text in ("one", "two", "three")]
    pages = [await chat.module.list_archives(A1, 2)]
    pages.append(await chat.module.list_archives(A1, 2, pages[0].cursor))
    assert [[each.id for each in page.archives] for page in pages] == [[ids[2], ids[1]], [ids[0]]]
    assert pages[1].cursor is None
    with pytest.raises(ProblemError) as caught:
        await chat.module.list_archives(A1, 2, "x")
    assert told(caught.value) == (
        *(422, "The cursor is not valid."),
        *("cursor", "must be the cursor of an earlier page"),
    )


async def test_a_bad_title_is_422_and_changes_nothing(chat: Chat) -> None:
    """The field is named, with what was expected."""
    archive_id = await archived(chat)
    with pytest.raises(ProblemError) as caught:
        await chat.module.rename_archive(A1, archive_id, "a\nb")
    assert told(caught.value) == (
        *(422, "The title is not valid."),
        *("title", "must not contain line breaks or other control characters"),
    )
    assert events(chat, "archives") == []


async def test_anothers_archive_is_404(chat: Chat) -> None:
    """As is one that never was; nothing is told."""
    archive_id = await archived(chat)
    for user, wanted in ((B2, archive_id), (A1, "2000-01-01-00-00-00"), (A1, "../current")):
        for change in (
            chat.module.rename_archive(user, wanted, "x"),
            chat.module.pin_archive(user, wanted, True),
            chat.module.delete_archive(user, wanted),
        ):
            with pytest.raises(ProblemError) as caught:
                await change
            assert (caught.value.status, caught.value.detail) == (404, "You have no such archive.")
    assert events(chat, "archives") == []
    assert len(await chat.archives()) == 1


async def test_the_operator_can_keep_users_from_deleting(tmp_path: Path) -> None:
    """With `chat.archives.delete: false` it is 403, and the archive stays."""
    async with Chat.in_memory(tmp_path, settings={"archives": {"delete": False}}) as chat:
        archive_id = await archived(chat)
        with pytest.raises(ProblemError) as caught:
            await chat.module.delete_archive(A1, archive_id)
        assert caught.value.status == 403
        assert len(await chat.archives()) == 1


async def test_nobody_is_told_of_an_archive_that_was_deleted(chat: Chat) -> None:
    """`connected.archived` would name something that can't be had."""
    archive_id = await archived(chat)
    await chat.module.delete_archive(A1, archive_id)
    assert (await chat.module.connected_fields(A1.id))["archived"] is None
