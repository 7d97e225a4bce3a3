"""What a log line says, and that nothing in it can be forged."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
from pathlib import Path, PurePath

import pytest
from aiohttp.web import RequestPayloadError
from hypothesis import given
from hypothesis import strategies as st

from potoserver import Cause
from potoserver.logs import LOG_FILE_NAME, DebugPatterns, Logs, StdlibBridge
from potoserver.logs.entry import MAX_TEXT_CHARS, Entry
from potoserver.logs.render import json_line, terminal_line
from potoserver.settings.model import LogSettings
from tests.support.clock import ManualClock


def logged(folder: Path, write: object, debug: str = "") -> tuple[list[dict[str, object]], str]:
    """The file's lines and the terminal's text after `write(logs)`."""
    terminal = io.StringIO()
    logs = Logs(LogSettings(debug=debug), folder / "logs", terminal)
    logs.start()
    write(logs)
    logs.stop()
    text = (folder / "logs" / LOG_FILE_NAME).read_text()
    return [json.loads(line) for line in text.split("\n") if line], terminal.getvalue()


def test_a_line_is_one_json_object_with_its_keys_in_order(tmp_path: Path) -> None:
    """timestamp, level, logger, event, then the fields as given; the time is UTC with milliseconds."""
    lines, _ = logged(tmp_path, lambda logs: logs.get("sse").bind(user="a1").info("SSE subscribed", n=1))
    assert list(lines[0]) == ["timestamp", "level", "logger", "event", "user", "n"]
    assert list(lines[0].values())[1:] == ["info", "sse", "SSE subscribed", "a1", 1]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(lines[0]["timestamp"]))


def test_the_terminal_gets_a_readable_line(tmp_path: Path) -> None:
    """Time, level, logger, event and the fields as name=value; no colours on what is no terminal."""
    _, text = logged(tmp_path, lambda logs: logs.get("sse").info("SSE subscribed", user="a1", why="a b"))
    assert re.fullmatch(r'\S{24} info     \[sse\] SSE subscribed user=a1 why="a b"\n', text)


def test_files_and_folders_are_the_servers_alone(tmp_path: Path) -> None:
    """The file is 0600 and the folder, where it was made, 0700."""
    logged(tmp_path, lambda logs: logs.get("a").info("b"))
    assert (tmp_path / "logs").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "logs" / LOG_FILE_NAME).stat().st_mode & 0o777 == 0o600


def test_lines_before_the_start_are_kept(tmp_path: Path) -> None:
    """What is logged before `start` is written after it."""
    logs = Logs(LogSettings(), tmp_path, None)
    logs.get("a").info("early")
    logs.start()
    logs.stop()
    logs.stop()
    assert '"early"' in (tmp_path / LOG_FILE_NAME).read_text()


def test_two_servers_in_one_process_do_not_share_logs(tmp_path: Path) -> None:
    """Nothing is global: levels and files are each server's own."""
    one, _ = logged(tmp_path / "one", lambda logs: logs.get("a").debug("x"), debug="a")
    two, _ = logged(tmp_path / "two", lambda logs: logs.get("a").debug("x"))
    assert (len(one), len(two)) == (1, 0)


@given(st.text(), st.text(), st.text(st.characters(codec=None)))
def test_no_text_makes_a_second_line(event: str, value: str, name: str) -> None:
    """Whatever is logged, the file gets one line, equal when read back, and the terminal one line."""
    entry = Entry.capture("a", "info", event, {f"f{name}": value})
    raw = json_line(entry)
    assert raw.count(b"\n") == 1
    text = raw.decode("utf-8")
    assert len(text.splitlines()) == 1
    assert json.loads(text)["event"] == event
    assert json.loads(text)[f"f{name}"] == value
    shown = terminal_line(entry, colour=False)
    assert shown.endswith("\n")
    assert shown[:-1].isprintable()


def test_terminal_sequences_are_escaped_in_the_file_too(tmp_path: Path) -> None:
    """`tail -F` of the file shows no colour, cursor or direction that a caller sent."""
    evil = "\x1b[2J\x9b1m\x7f\u202e\u2028\x85\r"
    lines, text = logged(tmp_path, lambda logs: logs.get("a").info("x", evil=evil))
    assert lines[0]["evil"] == evil
    assert text[:-1].isprintable()
    assert all(char.isprintable() for char in (tmp_path / "logs" / LOG_FILE_NAME).read_text()[:-1])


def test_a_field_can_not_replace_what_the_server_says(tmp_path: Path) -> None:
    """A field named like a key of the server's gets an underscore."""
    write = {"timestamp": "t", "level": "l", "logger": "x", "exception": "e"}
    lines, _ = logged(tmp_path, lambda logs: logs.get("a").info("b", **write))
    assert (lines[0]["level"], lines[0]["logger"]) == ("info", "a")
    assert [lines[0][f"{name}_"] for name in write] == list(write.values())


def test_an_exception_is_a_field_of_one_line(tmp_path: Path) -> None:
    """The traceback stands in the line's JSON; on the terminal it is indented, so it can't pass for lines."""

    def write(logs: Logs) -> None:
        try:
            raise ValueError("first\n2024 info [sse] forged")
        except ValueError as error:
            logs.get("a").exception("one")
            logs.get("a").error("two", exc_info=error)

    lines, text = logged(tmp_path, write)
    assert [line["event"] for line in lines] == ["one", "two"]
    assert all("ValueError: first\n2024" in str(line["exception"]) for line in lines)
    assert all(line.startswith(("    | ", "20")) for line in text.splitlines())
    assert "    | 2024 info [sse] forged" in text


def test_any_object_can_be_logged(tmp_path: Path) -> None:
    """What JSON can't carry is shown as text, and nothing raises."""

    class Broken:
        def __repr__(self) -> str:
            raise RuntimeError

    fields = {
        "cause": Cause.CLOSED,
        "path": PurePath("/a"),
        "nan": float("nan"),
        "bytes": b"x",
        "set": {1},
        "deep": [[[[[[1]]]]]],
        "broken": Broken(),
        "map": {1: (2, 3)},
        "surrogate": "\ud800",
    }
    lines, _ = logged(tmp_path, lambda logs: logs.get("a").info("b", **fields))
    assert lines[0]["cause"] == "closed"
    assert lines[0]["path"] == "/a"
    assert lines[0]["nan"] == "nan"
    assert lines[0]["set"] == [1]
    assert lines[0]["map"] == {"1": [2, 3]}
    assert lines[0]["surrogate"] == "\ud800"
    assert "can't be shown" in str(lines[0]["broken"])


def test_a_line_is_what_was_true_when_it_was_logged(tmp_path: Path) -> None:
    """Changing a list after logging it changes no line."""
    value = [1]

    def write(logs: Logs) -> None:
        for _ in range(200):
            logs.get("a").info("b", value=value)
            value.append(1)
            value.pop()

    lines, _ = logged(tmp_path, write)
    assert all(line["value"] == [1] for line in lines)


def test_a_long_text_is_cut(tmp_path: Path) -> None:
    """No caller makes a line of any length."""
    lines, _ = logged(tmp_path, lambda logs: logs.get("a").info("b", text="x" * 10**6))
    assert len(str(lines[0]["text"])) == MAX_TEXT_CHARS + 1


@pytest.mark.parametrize(
    ("patterns", "matching", "others"),
    [
        ("", (), ("session", "a:b")),
        ("session:*", ("session", "session:activity", "session:a:b"), ("sessions", "sse", "x:session")),
        ("session:*,-session:activity", ("session", "session:x"), ("session:activity",)),
        ("-session:activity, session:*", ("session:x",), ("session:activity",)),
        ("session:* journal:*", ("session", "journal:files"), ("http",)),
        ("*", ("session", "a:b"), ()),
        ("*,-journal:*", ("session",), ("journal", "journal:x")),
        ("s*e", ("sse", "see"), ("session",)),
        ("-", (), ("a",)),
        ("a.b", ("a.b",), ("axb",)),
    ],
)
def test_debug_patterns_choose_loggers(
    patterns: str, matching: tuple[str, ...], others: tuple[str, ...]
) -> None:
    """`*` is any text, `session:*` means `session` too, a minus takes out again."""
    found = DebugPatterns(patterns)
    assert all(found.match(name) for name in matching)
    assert not any(found.match(name) for name in others)


def test_debug_lines_are_written_for_matching_loggers_only(tmp_path: Path) -> None:
    """Info is the default; the decision is made once for each logger."""

    def write(logs: Logs) -> None:
        assert logs.get("session") is logs.get("session")
        for name in ("session", "session:activity", "http"):
            logs.get(name).bind(x=1).debug("quiet")
            logs.get(name).info("loud")

    lines, _ = logged(tmp_path, write, debug="session:*,-session:activity")
    assert [(line["logger"], line["event"]) for line in lines] == [
        ("session", "quiet"),
        ("session", "loud"),
        ("session:activity", "loud"),
        ("http", "loud"),
    ]


def test_a_flood_of_one_line_is_a_line_in_ten_seconds(tmp_path: Path) -> None:
    """The first is written at once, then one in 10 s with the number of those left out; none is uncounted."""
    clock = ManualClock()
    flooding = logging.getLogger("asyncio")

    def write(logs: Logs) -> None:
        with StdlibBridge(logs, clock):
            for _ in range(4):
                for _ in range(100):
                    flooding.error("out of descriptors", exc_info=OSError(24, "Too many open files"))
                flooding.error("out of descriptors", exc_info=OSError(23, "another reason"))
                asyncio.run(clock.advance(4))
            for number in range(300):
                flooding.error("all different %d", number)

    lines, _ = logged(tmp_path, write)
    flood = [line for line in lines if "Too many" in str(line)]
    assert [line.get("left_out") for line in flood] == [None, 299, 98]
    assert sum("another" in str(line) for line in lines) == 2
    assert sum("different" in str(line["event"]) for line in lines) == 300


def test_a_body_that_breaks_off_or_lies_is_a_warning(tmp_path: Path) -> None:
    """The client's mistake, answered with 400: no traceback."""

    def write(logs: Logs) -> None:
        with StdlibBridge(logs):
            error = RequestPayloadError("400, message:\n  Can not decode content-encoding: gzip")
            logging.getLogger("aiohttp.server").error("Unhandled exception", exc_info=error)

    (line,), _ = logged(tmp_path, write)
    assert (line["level"], line["event"]) == ("warning", "request refused, its body can't be read")
    assert "exception" not in line


def test_what_libraries_log_is_among_the_lines(tmp_path: Path) -> None:
    """Lines of aiohttp come from `http`, others from their own name; info stays out; nothing is left."""

    def write(logs: Logs) -> None:
        before = list(logging.getLogger().handlers)
        with StdlibBridge(logs) as bridge:
            logging.getLogger("aiohttp.server").error("bad %s", "request")
            logging.getLogger("asyncio").warning("slow", exc_info=ValueError("why"))
            logging.getLogger("asyncio").info("unseen")
            bridge.handle(logging.LogRecord("asyncio", logging.WARNING, "", 0, "%d", ("no number",), None))
        assert logging.getLogger().handlers == before

    lines, _ = logged(tmp_path, write)
    assert [(line["logger"], line["level"], line["event"]) for line in lines] == [
        ("http", "error", "bad request"),
        ("asyncio", "warning", "slow"),
        ("asyncio", "warning", "%d"),
    ]
    assert "ValueError: why" in str(lines[1]["exception"])
