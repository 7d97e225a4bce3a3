"""Random ids."""

from __future__ import annotations

import re

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
