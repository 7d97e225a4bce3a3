"""A node that starts on a Valkey that is not set up as it should be says so."""

from __future__ import annotations

from pathlib import Path

import pytest
import structlog

from potoserver.cli.check_engine import check_engine
from potoserver.engine.valkey import ValkeyEngine
from potoserver.metrics import Metrics
from potoserver.settings.model import BacklogSettings, Settings
from tests.support.engines import Recorder
from tests.support.valkey import valkey_server


@pytest.mark.parametrize(
    ("options", "count"),
    [(("--maxmemory-policy", "allkeys-lru"), 2), (("--appendonly", "yes"), 0)],
    ids=["not", "as it should be"],
)
async def test_a_start_warns_of_the_engine_in_the_words_of_check(
    tmp_path: Path, options: tuple[str, ...], count: int
) -> None:
    """A line for each thing that `check` notes: nobody has to think of asking."""
    with valkey_server(tmp_path, *options) as valkey:
        noted = [each.says for each in check_engine(Settings(engine=valkey.url)) if each.state != "ok"]
        with structlog.testing.capture_logs() as lines:
            engine = ValkeyEngine(valkey.url, 1000, BacklogSettings(), Metrics(), structlog.get_logger())
            await engine.start(Recorder())
            await engine.stop()
    warned = [line["says"] for line in lines if line["event"] == "engine not as it should be"]
    assert len(noted) == count
    assert warned == noted
