"""Asks whether what is installed in this environment has a known vulnerability. Only the standard library.

Usage: python scripts/audit.py [URL]

URL is that of a service that speaks OSV's API, else OSV itself (https://osv.dev). Exit status: 0 when nothing
is known, 1 when something is, 2 when the audit failed. Where the service can't be reached there is no audit:
that is said, and the status is 0, so that a machine without a network can run the tests.
"""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import urllib.error
import urllib.request
from typing import Any

OSV_URL = "https://api.osv.dev/v1/query"
_PROBE = {"package": {"name": "pip", "ecosystem": "PyPI"}, "version": "9.0.0"}
"""A question that the service answers with vulnerabilities."""
_OF_A_PROXY = (403, 407, 511)
_REACHED_WITHIN_S = 5
_ANSWER_WITHIN_S = 15
_ALL_WITHIN_S = 240


def main(url: str) -> int:
    """Audits; returns the exit status."""
    problem = _why_unreachable(url)
    if problem:
        return _say(f"NOT DONE: {url} can't be reached ({problem})", 0)
    command = [sys.executable, "-m", "pip_audit", "--vulnerability-service", "osv", "--osv-url", url]
    options = ["--skip-editable", "--progress-spinner", "off", "--desc", "off", "--format", "json"]
    try:
        ran = subprocess.run(
            [*command, *options, "--timeout", str(_ANSWER_WITHIN_S)],
            capture_output=True,
            text=True,
            timeout=_ALL_WITHIN_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return _say(f"failed: not done within {_ALL_WITHIN_S} s", 2)
    try:
        packages = json.loads(ran.stdout)["dependencies"]
    except (ValueError, LookupError, TypeError):
        return _say(f"failed with status {ran.returncode}\n{ran.stdout}{ran.stderr}", 2)
    audited = [each for each in packages if "vulns" in each]
    if not audited:
        return _say("failed: not one package was looked at", 2)
    found = [_line(package, each) for package in audited for each in package["vulns"]]
    for line in found:
        _say(line, 1)
    if found:
        return _say(f"{len(found)} known vulnerabilities", 1)
    return _say(f"{len(audited)} packages, no known vulnerability", 0)


def _why_unreachable(url: str) -> str:
    """Why nobody answers there; empty when somebody does, whatever the answer."""
    request = urllib.request.Request(url, json.dumps(_PROBE).encode(), {"Content-Type": "application/json"})
    try:
        urllib.request.urlopen(request, timeout=_REACHED_WITHIN_S).close()
    except urllib.error.HTTPError as error:
        return f"a proxy answers {error.code}" if error.code in _OF_A_PROXY else ""
    except (OSError, http.client.HTTPException) as error:
        return str(getattr(error, "reason", error))
    return ""


def _line(package: dict[str, Any], vulnerability: dict[str, Any]) -> str:
    names = ", ".join([vulnerability["id"], *vulnerability.get("aliases", [])])
    fixed = " or ".join(vulnerability.get("fix_versions", [])) or "no version yet"
    return f"{package['name']} {package['version']}: {names}; fixed in {fixed}"


def _say(text: str, status: int) -> int:
    print(f"dependency audit: {text}", file=sys.stderr if status else sys.stdout, flush=True)
    return status


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2] or [OSV_URL]))
