"""What the files of an export look like."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from modules.chat_server.export.form import ExportForm
from modules.chat_server.export.json_form import JsonForm
from modules.chat_server.export.markdown_form import MarkdownForm
from modules.chat_server.export.zip_form import ZipForm
from modules.chat_server.journal.dialog_yaml import parse_dialog
from modules.chat_server.wire import MessageView
from tests.search.support import START_MS, dialog_bytes, texts

DAY_MS = 24 * 3600 * 1000


def exported(
    form: ExportForm, archives: Sequence[bytes], skipped: Sequence[str] = (), user: str = "a1"
) -> bytes:
    pieces = [form.begin(user)]
    for number, data in enumerate(archives):
        pieces.append(form.add(f"2024-01-{number + 10}-10-30-00", data, parse_dialog(data)))
    return b"".join([*pieces, form.end(skipped)])


def archive(*contents: str, number: int = 0) -> bytes:
    return dialog_bytes(contents, number=number, started_ms=START_MS + number * DAY_MS)


def titled(data: bytes, lines: bytes) -> bytes:
    return data.replace(b"messages:\n", lines + b"messages:\n")


def test_json_is_one_object_with_an_archive_a_line() -> None:
    """Oldest first, each as `getArchive` has it, with the title that was given to it, or null."""
    data = [archive("one", "two"), titled(archive("three", number=1), b'title: "Mine"\npinned: true\n')]
    text = exported(JsonForm(), data).decode()
    loaded = json.loads(text)
    assert list(loaded) == ["potoserver", "user", "archives"]
    assert (loaded["potoserver"], loaded["user"]) == (1, "a1")
    first, second = loaded["archives"]
    assert first == {
        "id": "2024-01-10-10-30-00",
        "conversationId": "sse-1705313523120-000000000",
        "title": None,
        "pinned": False,
        "startedAt": "2024-01-15T10:12:03.120Z",
        "endedAt": "2024-01-15T10:12:05.120Z",
        "reason": "request",
        "messages": [
            MessageView.of(each).model_dump(mode="json", by_alias=True)
            for each in parse_dialog(data[0]).messages
        ],
    }
    assert (second["title"], second["pinned"]) == ("Mine", True)
    lines = text.splitlines()
    assert [json.loads(line.rstrip(","))["id"] for line in lines[1:3]] == [first["id"], second["id"]]
    assert lines[3] == "]}"


def test_json_without_archives_is_an_object_too() -> None:
    """An empty list."""
    assert json.loads(exported(JsonForm(), [])) == {"potoserver": 1, "user": "a1", "archives": []}


@given(
    st.lists(st.lists(texts, min_size=1, max_size=3), max_size=3),
    st.text(max_size=9, alphabet='a"\\\n\u2028é'),
)
def test_json_holds_any_text(dialogs: list[list[str]], user: str) -> None:
    """As it is."""
    loaded = json.loads(exported(JsonForm(), [archive(*each) for each in dialogs], user=user))
    assert [[each["content"] for each in one["messages"]] for one in loaded["archives"]] == dialogs
    assert loaded["user"] == user


def test_markdown_is_for_people() -> None:
    """A heading for each dialog, with its title, times and reason; role and time for each message."""
    first = titled(archive("How?", "So:\n\n```python\nprint('#')\n```\nSee?"), b"pinned: true\n")
    text = exported(MarkdownForm(), [first, archive("Bye", number=1)]).decode()
    assert text == (
        "# Dialogs of a1\n"
        "\n"
        "## How?\n"
        "\n"
        "2024-01-15 10:12:03 to 2024-01-15 10:12:05 UTC, ended by request, pinned, archive "
        "`2024-01-10-10-30-00`\n"
        "\n"
        "### User, 2024-01-15 10:12:03\n"
        "\n"
        "How?\n"
        "\n"
        "### Assistant, 2024-01-15 10:12:04\n"
        "\n"
        "So:\n\n```python\nprint('#')\n```\nSee?\n"
        "\n"
        "## Bye\n"
        "\n"
        "2024-01-16 10:12:03 to 2024-01-16 10:12:04 UTC, ended by request, archive `2024-01-11-10-30-00`\n"
        "\n"
        "### User, 2024-01-16 10:12:03\n"
        "\n"
        "Bye\n"
    )


@pytest.mark.parametrize(
    ("content", "closed"),
    [
        ("```\nx", "```"),
        ("~~~~ text\nx\n~~~", "~~~~"),
        ("```\nx\n```", ""),
        ("```\nx\n````  ", ""),
        ("```\nx\n``` y", "```"),
        ("   ```\nx", "```"),
        ("    ```\nx", ""),
        ("``` a ` b\nx", ""),
        ("```a```", ""),
        ("``\nx", ""),
        ("~~~\n```\n~~~", ""),
        ("~~~\n```\n", "~~~"),
        ("```\n```\n```", "```"),
    ],
)
def test_a_code_block_that_is_left_open_swallows_nothing(content: str, closed: str) -> None:
    """It is closed behind the message, which itself stays as it is (CommonMark 0.31, section 4.5)."""
    text = exported(MarkdownForm(), [archive(content, "next")]).decode()
    ending = f"\n{closed}" if closed else ""
    assert f"\n\n{content}{ending}\n\n### Assistant" in text


def test_zip_has_the_files_as_they_are() -> None:
    """Each by its name, with the time of its end; nothing is read that is not needed to write it."""
    data = [archive("one"), archive("zwei ß 😀" * 5000, number=1)]
    made = exported(ZipForm(), data)
    with zipfile.ZipFile(io.BytesIO(made)) as file:
        assert file.testzip() is None
        assert [each.filename for each in file.infolist()] == [
            "2024-01-10-10-30-00.yaml",
            "2024-01-11-10-30-00.yaml",
        ]
        assert [file.read(each) for each in file.infolist()] == data
        assert file.infolist()[0].date_time == (2024, 1, 15, 10, 12, 4)
        assert file.infolist()[0].flag_bits & 0x08, "its sizes stand behind it"
    assert len(made) < 4000


@pytest.mark.long
def test_a_zip_of_more_than_65535_files_is_one() -> None:
    """By the larger table (zip64), which is written where it is needed."""
    form, data = ZipForm(), archive("x")
    dialog = parse_dialog(data)
    pieces = [
        form.begin("a1"),
        *(form.add(str(number), data, dialog) for number in range(65_537)),
        form.end([]),
    ]
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as file:
        assert len(file.namelist()) == 65_537
        assert file.read("65536.yaml") == data


@pytest.mark.parametrize(
    ("ended", "told"), [("1969-01-01", 1980), ("2108-01-01", 2107), ("9999-12-31", 2107)]
)
def test_zip_holds_what_a_wrong_clock_has_stamped(ended: str, told: int) -> None:
    """A zip tells times from 1980 to 2107; one archive of another keeps nobody from all of theirs."""
    data = re.sub(rb'ended: "[0-9-]{10}', f'ended: "{ended}'.encode(), archive("one"))
    with zipfile.ZipFile(io.BytesIO(exported(ZipForm(), [data]))) as file:
        (entry,) = file.infolist()
        assert (file.read(entry), entry.date_time[0]) == (data, told)


def test_an_empty_zip_is_a_zip_too() -> None:
    """With no entry."""
    with zipfile.ZipFile(io.BytesIO(exported(ZipForm(), []))) as file:
        assert file.namelist() == []


@pytest.mark.parametrize("form", [JsonForm, MarkdownForm, ZipForm])
def test_what_is_left_out_is_told(form: type[ExportForm]) -> None:
    """At the end of the file itself, by id."""
    made = exported(form(), [archive("one")], ["2024-02-01-00-00-00", "2024-02-02-00-00-00-2"])
    if form is ZipForm:
        with zipfile.ZipFile(io.BytesIO(made)) as file:
            assert file.read("skipped.txt") == b"2024-02-01-00-00-00\n2024-02-02-00-00-00-2\n"
    elif form is JsonForm:
        assert json.loads(made)["skipped"] == ["2024-02-01-00-00-00", "2024-02-02-00-00-00-2"]
    else:
        assert made.endswith(
            b"\n## Not in this file\n\n"
            b"These archives can't be read: 2024-02-01-00-00-00, 2024-02-02-00-00-00-2\n"
        )
