"""Export of a user's archives: as JSON, as Markdown, or the files themselves, whatever their number."""

from .exporter import FORMS, Exporter, ExportFormat, UnknownArchiveError

__all__ = ["FORMS", "ExportFormat", "Exporter", "UnknownArchiveError"]
