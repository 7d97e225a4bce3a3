"""Export of a user's archives: as JSON, as Markdown, or the files themselves, whatever their number."""

from .exporter import Exporter, ExportFormat, UnknownArchiveError

__all__ = ["ExportFormat", "Exporter", "UnknownArchiveError"]
