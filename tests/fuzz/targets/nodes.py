"""What several nodes share: where their engine is, and what they send each other through it."""

from __future__ import annotations

from redis.asyncio.connection import parse_url

from potoserver.nodes.message import Message, MessageError
from potoserver.settings.engine_url import EMBEDDED_ENGINE, SCHEMES, check_engine_url, shown_engine
from tests.fuzz.target import Target

_SECRET = "hush-hush-hush"


def check_engine_place(data: bytes) -> None:
    """The client takes every URL that passes; a refusal, and what is shown, have no password in them."""
    text = data.decode("utf-8", "surrogateescape")
    for url in (text, text.replace("pass", _SECRET)):
        try:
            check_engine_url(url)
        except ValueError as error:
            assert _SECRET not in str(error)
            assert str(error).isprintable()
            continue
        if url == EMBEDDED_ENGINE:
            continue
        scheme, _, rest = url.partition("://")
        parse_url(f"{SCHEMES[scheme]}://{rest}")
        assert "@" not in shown_engine(url)
        assert "?" not in shown_engine(url)


def check_node_message(data: bytes) -> None:
    """Any bytes are a message, the same when sent on, or refused as none."""
    try:
        message = Message.decode(data)
    except MessageError:
        return
    try:
        sent = message.encode()
    except ValueError:  # a number that is not finite, which no node sends
        return
    assert Message.decode(sent) == message


TARGETS = (
    Target(
        "engine-url",
        check_engine_place,
        (
            b"memory://",
            b"valkey://127.0.0.1:6379/0",
            b"redis://user:pass@engine.example:6379",
            b"valkeys://:pass@[::1]:6380/1?ssl_ca_certs=/etc/ca.pem",
            b"unix:///run/valkey.sock?db=1",
            b"unix://:pass@/run/valkey.sock",
            b"valkey://u:p%40ss@h/00000000000000000000000000000000001",
            b"valkey://h/\xd9\xa1",
            b"valkey://[::1/0",
            b"valkey://h:99999/0",
        ),
    ),
    Target(
        "node-message",
        check_node_message,
        (
            b'["e1",0,"call",{"method":"chat"}]\n{"message":"hi"}',
            b'["e1",3,"taken",{"count":4}]\n',
            b'["e1",1,"gone",{}]\n',
            b'["e1",true,"last",{}]\n',
            b'["e1",0,"last",{"a":NaN}]\n',
            b'[[],0,"last",{}]\n',
            b"[" * 2000,
            b'["e1",0,"whole",{"a":' + b"[" * 5000 + b"]" * 5000 + b"}]\n",
            b'["e1",0,"whole",{"a":' + b"9" * 5000 + b"}]\n",
            b"\xff\n\xff",
        ),
    ),
)
