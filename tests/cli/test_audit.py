"""scripts/audit.py, against a service of the test's own: it fails when it should, and never hangs."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from typing_extensions import override

CHECKOUT = Path(__file__).parents[2]
Answer = Callable[[str, str], Any]


@contextmanager
def service(answer: Answer) -> Iterator[str]:
    """Runs a service that speaks OSV's API: `answer` gets a package and its version; gives its URL."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            body = answer(asked["package"]["name"], asked["version"])
            self.send_response(200 if isinstance(body, dict) else 500)
            self.send_header("Content-Type", "application/json")
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        @override
        def log_message(self, format: str, *args: object) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/query"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def audit(url: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, CHECKOUT / "scripts" / "audit.py", url],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )


def vulnerable(package: str) -> Answer:
    """Knows a vulnerability of one package, fixed in another version."""

    def answer(name: str, _version: str) -> Any:
        if name != package:
            return {}
        ranges = [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "9999.1"}]}]
        affected = [{"package": {"name": name, "ecosystem": "PyPI"}, "ranges": ranges}]
        return {
            "vulns": [
                {
                    "id": "PYSEC-2026-1",
                    "aliases": ["CVE-2026-1"],
                    "modified": "2026-01-01T00:00:00Z",
                    "published": "2026-01-01T00:00:00Z",
                    "affected": affected,
                    "details": "d",
                }
            ]
        }

    return answer


def test_a_known_vulnerability_of_what_the_server_needs_fails_the_run() -> None:
    """With the package, its version, the names of the vulnerability and the version that mends it.

    Every package that the server needs is asked about.
    """
    asked = set()

    def answer(name: str, version: str) -> Any:
        asked.add(name.lower())
        return vulnerable("aiohttp")(name, version)

    with service(answer) as url:
        done = audit(url)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "dependency audit: aiohttp 3." in done.stderr
    assert ": PYSEC-2026-1, CVE-2026-1; fixed in 9999.1" in done.stderr
    assert "1 known vulnerabilities" in done.stderr
    assert {"aiohttp", "aiohttp-sse", "pyjwt", "cryptography", "pydantic", "pyyaml", "openai"} <= asked


@pytest.mark.long
def test_with_nothing_known_the_run_goes_on() -> None:
    """And it is said how many packages were looked at."""
    with service(lambda _name, _version: {}) as url:
        done = audit(url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"dependency audit: [1-9]\d+ packages, no known vulnerability", done.stdout)


def test_a_service_that_fails_is_no_clean_audit() -> None:
    """It is there, so this is a failure and not a machine without a network."""
    with service(lambda _name, _version: None) as url:
        done = audit(url)
    assert done.returncode == 2
    assert "dependency audit: failed" in done.stderr


@pytest.mark.parametrize("kind", ["refused", "unknown"])
def test_without_a_network_it_says_that_nothing_was_done(kind: str) -> None:
    """And lets the run go on."""
    if kind == "refused":
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{sock.getsockname()[1]}/v1/query"
            done = audit(url)
    else:
        done = audit("http://osv.invalid/v1/query")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("dependency audit: NOT DONE: http://")


@pytest.mark.long
def test_a_service_that_never_answers_does_not_hang_the_run() -> None:
    """It counts as out of reach after some seconds."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        done = audit(f"http://127.0.0.1:{sock.getsockname()[1]}/v1/query")
    assert done.returncode == 0
    assert "NOT DONE" in done.stdout
    assert "timed out" in done.stdout
