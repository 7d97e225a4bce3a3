"""The command line: `serve` and the commands beside it."""

from potoserver.cli.main import main, run

__all__ = ["main", "run"]
