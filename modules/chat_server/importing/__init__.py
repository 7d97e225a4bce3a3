"""Import of archives: what an export holds, or a list of messages as OpenAI's API has them."""

from .importer import Importer
from .shapes import ImportedArchive, ImportedArchives, ListedMessage, Title

__all__ = ["ImportedArchive", "ImportedArchives", "Importer", "ListedMessage", "Title"]
