"""Search in a user's archives: what a query asks for, which files may hold it, where it stands."""

from .matching import Found, Matcher
from .query import MAX_QUERY_CHARS, Query, QueryError
from .searcher import FoundPage, Searcher
from .snippet import SnippetPart

__all__ = [
    "MAX_QUERY_CHARS",
    "Found",
    "FoundPage",
    "Matcher",
    "Query",
    "QueryError",
    "Searcher",
    "SnippetPart",
]
