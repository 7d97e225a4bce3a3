"""Docstrings as descriptions are made of them."""

from __future__ import annotations

from potoserver.module.docstrings import Docstring, read_docstring


def test_a_docstring_is_taken_apart() -> None:
    """Summary, details, and what is said of each argument, in one line each."""

    def documented() -> None:
        """Does something.

        It does so in a way that takes
        two lines.

        And a paragraph more.

        Args:
            first: What comes first: a thing.
            second: What goes on
                in another line.

        Returns:
            Nothing.
        """

    assert read_docstring(documented) == Docstring(
        "Does something.",
        "It does so in a way that takes two lines.\nAnd a paragraph more.",
        {"first": "What comes first: a thing.", "second": "What goes on in another line."},
    )


def test_what_follows_no_style_does_no_harm() -> None:
    """No docstring, one line, or arguments that are none."""

    def without() -> None:
        pass

    def short() -> None:
        """Says it."""

    def odd() -> None:
        """Says it.

        Args:
        (none)
            *: nothing
        """

    assert read_docstring(without) == Docstring()
    assert read_docstring(short) == Docstring("Says it.")
    assert read_docstring(odd) == Docstring("Says it.")
