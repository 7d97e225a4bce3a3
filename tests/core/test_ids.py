"""Random ids."""

from __future__ import annotations

import re
import secrets
from textwrap import wrap

import pytest

from potoserver.ids import BASE64_16, HEX_32, Ids


@pytest.mark.parametrize(
    ("ids", "form"), [(Ids(HEX_32), r"[0-9a-f]{32}"), (Ids(BASE64_16, "m-"), r"m-[A-Za-z0-9_-]{16}")]
)
def test_each_is_new_and_of_the_form(ids: Ids, form: str) -> None:
    """However many are drawn at once."""
    given = [ids.next() for _ in range(1000)]
    assert len(set(given)) == 1000
    assert all(re.fullmatch(form, each) for each in given)


def test_none_shares_a_random_character_with_another() -> None:
    """Who knows one knows nothing of the others."""
    drawn: list[str] = []

    def draw(count: int) -> str:
        drawn.append(secrets.token_hex(count))
        return drawn[-1]

    ids = Ids((draw, 16, 32))
    given = [ids.next() for _ in range(128)]
    assert len(drawn) == 2
    assert "".join(sorted(given)) == "".join(sorted(each for text in drawn for each in wrap(text, 32)))
