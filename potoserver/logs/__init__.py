"""Logs: JSON lines in a file, readable lines on the terminal, written off the loop."""

from potoserver.logs.levels import DebugPatterns
from potoserver.logs.logs import LOG_FILE_NAME, Logs
from potoserver.logs.stdlib import StdlibBridge

__all__ = ["LOG_FILE_NAME", "DebugPatterns", "Logs", "StdlibBridge"]
