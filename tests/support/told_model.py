"""A model that answers with what it was told before the dialog, and thinks first."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from typing_extensions import override

THOUGHT = "They ask.\nWhat was I told?"


class _Model(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        told = [each["content"] for each in asked["messages"] if each["role"] == "system"]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        for delta in ({"reasoning_content": THOUGHT}, {"content": f"told: {told}"}):
            self._send({"choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
        self._send({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.wfile.write(b"data: [DONE]\n\n")

    def _send(self, fields: dict[str, object]) -> None:
        chunk = {"id": "c", "object": "chat.completion.chunk", "created": 0, "model": "told", **fields}
        self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())

    @override
    def log_message(self, format: str, *args: object) -> None:
        """Says nothing."""


@contextmanager
def told_model() -> Iterator[dict[str, str]]:
    """Runs it on a thread; gives the settings of a server that asks it, as environment variables."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Model)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield {
            "POTO_CHAT__RESPONDER": "openai",
            "POTO_CHAT__OPENAI__BASE_URL": f"http://127.0.0.1:{server.server_port}/v1",
            "POTO_CHAT__OPENAI__MODEL": "told",
            "POTO_CHAT__OPENAI__API_KEY": "k",
        }
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
