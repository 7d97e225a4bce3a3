"""The bodies of requests: strict JSON, and its check against a method's model."""

from __future__ import annotations

import json
from typing import Any

from potoserver.errors import ProblemError
from potoserver.events import to_json
from potoserver.module.rpc import rpc_methods
from potoserver.module.wire import encode_result
from potoserver.web.body import MAX_DEPTH, MAX_ERRORS, Body, parse_json, validate_body
from potoserver.web.login import LoginRequest
from potoserver.web.problems import problem_response
from potoserver.web.subscribe import Acknowledgement
from tests.fuzz.taker import Taker
from tests.fuzz.target import Target

MODELS = (rpc_methods(Taker())["take"].arguments, LoginRequest, Acknowledgement)


def check_body(data: bytes) -> None:
    """JSON is told from what is none, means what it says, and a refusal is a document for people."""
    try:
        value = parse_json(data)
    except ProblemError as error:
        assert error.status == 400
        _check_problem(error)
        return
    assert json.loads(data) == value
    _check_depth(value)
    for model in MODELS:
        try:
            valid = validate_body(model, Body(data, value))
        except ProblemError as error:
            assert error.status == 422
            assert 1 <= len(error.errors) <= MAX_ERRORS
            assert len({each.field for each in error.errors}) == len(error.errors)
            _check_problem(error)
        else:
            # Nothing is taken that could not be answered, logged or kept.
            encode_result(valid).encode()
    try:
        text = to_json(value).encode()
    except UnicodeEncodeError:
        return  # a lone surrogate: refused by every model above, unless it stands for no argument
    assert parse_json(text) == value


def _check_problem(error: ProblemError) -> None:
    response = problem_response(error, "r")
    assert isinstance(response.body, bytes)
    document = json.loads(response.body)
    assert document["detail"]
    assert len(response.body) < 60_000
    assert all(each["message"] for each in document.get("errors", ()))


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [
            inner
            for each in level
            if isinstance(each, dict | list)
            for inner in (each.values() if isinstance(each, dict) else each)
        ]
        if not level:
            return
    raise AssertionError("it nests deeper than the limit")


TARGETS = (
    Target(
        "body",
        check_body,
        (
            b'{"text": "ab", "someText": null, "value": 1.5, "count": 9, "tags": ["a"], "table": {"a": [1]}}',
            b'{"part": {"streetName": "s", "parts": [{"streetName": "t"}]}}',
            b'{"anything": [[[{"a": "\\ud83d\\ude00"}]]]}',
            b'{"token": "x"}',
            b'{"connection": "c-1", "lastEventId": "e-1"}',
            b'{"anything": "\\ud800"}',
            b'{"\\ud800": {"\\udc00": 1}}',
            b'{"text": 1, "text": 2}',
            b"[" * 70 + b"]" * 70,
            b'{"value": 1e999}',
            b'{"value": NaN}',
            b'{"value": -0, "count": 1e0}',
            b'{"count": 99999999999999999999999999}',
            b'{"value": ' + b"9" * 5000 + b"}",
            b"\xef\xbb\xbf{}",
            b'"\xed\xa0\x80"',
            b"null",
            b" \t\r\n{ }\n",
            b'{"a.b": 1, "a": {"b": 2}}',
            b'{"part": {"street_name": 1}}',
            b'{"value": {"a": 1}}',
            b'{"table": {"a": ["x"], "b": 1}}',
        ),
    ),
)
