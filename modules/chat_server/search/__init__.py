"""Search in a user's archives: what a query asks for, which files may hold it, where it stands."""

from .query import MAX_QUERY_CHARS, Query, QueryError
from .searcher import Found, FoundPage, Searcher
from .snippet import SnippetPart

__all__ = ["MAX_QUERY_CHARS", "Found", "FoundPage", "Query", "QueryError", "Searcher", "SnippetPart"]
