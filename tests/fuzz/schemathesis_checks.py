"""Checks of ours for schemathesis, which loads this file: what an answer must be beside its schema."""

from __future__ import annotations

import json
from typing import Any

import schemathesis

from tests.support.sse import parse_events

EVENTS = {"/subscribe": {"connected", "unavailable"}}
"""What a stream may begin with; that of a call begins with a piece of the reply or with its end."""


@schemathesis.check
def status_is_named(_ctx: Any, response: Any, case: Any) -> None:
    """An operation's description has the very status; `default` names none."""
    if case.method.upper() == case.operation.method.upper():
        assert str(response.status_code) in case.operation.definition.raw["responses"], response.status_code


@schemathesis.check
def problem_is_whole(_ctx: Any, response: Any, _case: Any) -> None:
    """An error is a problem document with the request's id; no internals in it."""
    request_id = response.headers["x-request-id"][0]
    if response.status_code < 400 or response.headers["content-type"][0].startswith("application/json"):
        return
    assert response.headers["content-type"][0].startswith("application/problem+json")
    document = json.loads(response.content)
    assert document["status"] == response.status_code
    assert document["requestId"] == request_id
    assert bool(document.get("errors")) == (response.status_code == 422)
    assert "Traceback" not in response.text


@schemathesis.check
def stream_begins_well(_ctx: Any, response: Any, case: Any) -> None:
    """An event stream begins with an event that the protocol knows."""
    if response.headers.get("content-type", [""])[0].startswith("text/event-stream"):
        allowed = EVENTS.get(case.operation.path, {"delta", "done", "error"})
        assert parse_events(response.content)[0].type in allowed


@schemathesis.hook
def before_call(_ctx: Any, case: Any, _kwargs: Any) -> None:
    """Some calls ask for a stream."""
    if case.operation.path.count("/") == 2 and len(json.dumps(case.body, default=str)) % 3 == 0:
        case.headers = {**(case.headers or {}), "Accept": "text/event-stream"}
