# ruff: noqa: F401
"""What is promised of one server, tried on two nodes behind nginx, which spreads all by chance.

The tests are those of the single server; `start_server` of this folder gives them several nodes.
"""

from __future__ import annotations

import pytest

from tests.process.test_parallel_and_idempotency import (
    test_fifty_messages_at_once_are_all_kept_each_reply_behind_its_question,
)
from tests.process.test_presence import (
    test_closing_one_of_two_tabs_ends_nothing_and_the_last_ends_once,
)
from tests.process.test_shutdown import (
    test_a_draining_server_refuses_new_work_and_says_so,
)

pytestmark = pytest.mark.process
