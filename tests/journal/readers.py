"""YAML readers that others wrote: PyYAML in C and in Python, ruamel.yaml, and the npm package `yaml`."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import yaml
from ruamel.yaml import YAML

_PACKAGE: Final = "yaml@2"
_SCRIPT: Final = """
const YAML = require('yaml');
require('readline').createInterface({input: process.stdin}).on('line', line => {
  const text = JSON.parse(line);
  const read = version => {
    const found = YAML.parseDocument(text, {version, strict: true});
    const bad = found.errors.concat(found.warnings);
    return bad.length ? {bad: String(bad[0])} : found.toJS();
  };
  console.log(JSON.stringify([read('1.1'), read('1.2')]));
});
"""

Reader = Callable[[str], Any]


def python_readers() -> dict[str, Reader]:
    """The readers for Python by name; each takes a file's text."""

    def ruamel(kind: str, version: str | None) -> Reader:
        def read(text: str) -> Any:
            reader = YAML(typ=kind, pure=True)
            if version:
                reader.version = version
            return _plain(reader.load(io.StringIO(text)))

        return read

    return {
        "PyYAML in C": lambda text: yaml.load(text, Loader=yaml.CSafeLoader),
        "PyYAML": lambda text: yaml.load(text, Loader=yaml.SafeLoader),
        "ruamel.yaml": ruamel("safe", None),
        "ruamel.yaml 1.1": ruamel("safe", "1.1"),
        "ruamel.yaml round trip": ruamel("rt", None),
    }


def _plain(loaded: Any) -> Any:
    if isinstance(loaded, dict):
        return {str(key): _plain(value) for key, value in loaded.items()}
    if isinstance(loaded, list):
        return [_plain(value) for value in loaded]
    if isinstance(loaded, str):
        return str(loaded)
    return loaded


@contextmanager
def npm_reader() -> Iterator[Callable[[str], list[Any]] | str]:
    """One node process that reads a text as YAML 1.1 and as 1.2; a sentence when there can't be one."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        yield "node and npm are not installed"
        return
    home = Path(sys.prefix) / "node"
    if not (home / "node_modules" / "yaml").exists():
        home.mkdir(exist_ok=True)
        installed = subprocess.run(
            [npm, "install", "--no-audit", "--no-fund", "--no-save", "--prefix", home, _PACKAGE],
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        if installed.returncode:
            yield f"npm could not install {_PACKAGE}: {installed.stderr[-300:]}"
            return
    with subprocess.Popen(
        [node, "-e", _SCRIPT], cwd=home, stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8"
    ) as process:
        stdin, stdout = process.stdin, process.stdout
        assert stdin is not None and stdout is not None

        def read(text: str) -> list[Any]:
            stdin.write(json.dumps(text) + "\n")
            stdin.flush()
            result: list[Any] = json.loads(stdout.readline())
            return result

        yield read
