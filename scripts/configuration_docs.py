"""Writes docs/configuration.md from the settings models: `.venv/bin/python scripts/configuration_docs.py`."""

from __future__ import annotations

import inspect
import itertools
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from potoserver.module.loader import find_modules
from potoserver.settings import Settings
from potoserver.settings.keys import SettingKey, keys_of

CHECKOUT = Path(__file__).resolve().parents[1]
DOCUMENT = CHECKOUT / "docs" / "configuration.md"
FLAGS = {"host", "port", "data_dir", "log_dir", "engine", "workers"}

INTRODUCTION = """\
# Configuration

<!-- Made from the settings models by scripts/configuration_docs.py; edit those. -->

The server runs without any configuration. What you set is read from these places, the later ones win:

1. the defaults below;
2. the file `potoserver.yaml` in the current folder, or the one named by `--config FILE`;
3. environment variables;
4. flags.

Any key can be set by a variable: `POTO_` and the key's path in capitals, its parts joined by `__`. Lists and
mappings are given as JSON there; booleans are `true` or `false`, `1` or `0`, `yes` or `no`. Some keys have a
variable of their own besides; give one of the two. In the file a value must have the right type:
`port: "3799"` is a text and no number. Relative paths start at the current folder.

A wrong setting stops the start with exit status 2 and one line that names the key, where it was read and what
was expected. An unknown key, an unknown `POTO_…` variable and a key given twice in the file are wrong, too:

```
potoserver: port (potoserver.yaml line 3): expected a whole number from 0 to 65535, not '3799'
```

`python -m potoserver check` reads everything and says what is in the way of a start, without starting.

## Examples

A server for a few people, behind a proxy on the same machine:

```yaml
host: localhost
data_dir: /var/lib/potoserver
log_dir: /var/log/potoserver
auth:
  tokens:
    "sha256:d06ca10fe1387c2d0962e215e828674fc89464231cbdcc91a7c7fa1f4b9923bb":
      user: alice
      roles: [user, admin]
chat:
  responder: openai
  openai:
    model: my-model
    base_url: http://localhost:8000/v1
```

`python -m potoserver token` makes a token and prints its hash and such a piece of file. Secrets need not be
in the file: `POTO_AUTH__JWT_SECRET` and `POTO_CHAT__OPENAI__API_KEY` set them from the environment. The
responder `openai` needs the extra `llm` (`pip install -e ".[llm]"`); `./scripts/run` installs it by itself.

While no token, JWT secret or key is configured there are development tokens: `test-token` is user `a1` with
the role `user`, `admin-token` is user `admin` with the roles `user` and `admin`. The server then refuses to
start on any other than a loopback address.
"""


def main() -> None:
    """Writes the document."""
    DOCUMENT.write_text(render(), encoding="utf-8")


def render() -> str:
    """The document's text."""
    parts = [INTRODUCTION, "## The server\n"]
    parts.extend(_tables(keys_of(Settings), Settings, ()))
    for module in find_modules(CHECKOUT / "modules", None):
        model = module.settings_model
        if model is not None:
            parts.append(f"## The module {module.name()}\n")
            parts.extend(_tables(keys_of(model, (module.section,)), model, (module.section,)))
    return "\n".join(parts)


def _tables(keys: Iterable[SettingKey], model: type[BaseModel], prefix: tuple[str, ...]) -> Iterator[str]:
    """A table for each section, each under what the section says about itself."""
    for section, members in itertools.groupby(keys, key=lambda key: key.path[:-1]):
        inside = model
        for name in section[len(prefix) :]:
            inside = inside.model_fields[name].annotation  # type: ignore[assignment]  # a section is a model
        if section:
            yield f"### `{'.'.join(section)}`\n\n{inspect.getdoc(inside)}\n"
        rows = ["| key | takes | default | environment | meaning |", "| --- | --- | --- | --- | --- |"]
        rows.extend(_row(key) for key in members)
        yield "\n".join(rows) + "\n"


def _row(key: SettingKey) -> str:
    names = [f"`{name}`" for name in reversed(key.variables)]
    if key.dotted in FLAGS:
        names.append(f"`--{key.dotted.replace('_', '-')}`")
    elif key.dotted == "log.debug":
        names.append("`--debug`")
    cells = (f"`{key.dotted}`", key.expected(), _default(key), ", ".join(names), key.field.description or "")
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _default(key: SettingKey) -> str:
    if key.field.is_required():
        return "none, it must be set"
    value: Any = key.field.get_default(call_default_factory=True)
    if value is None or value == "" or isinstance(value, SecretStr):
        return ""
    return f"`{value if isinstance(value, str | Path) else json.dumps(value)}`"


if __name__ == "__main__":
    main()
