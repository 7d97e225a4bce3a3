"""Every name in Valkey, what stands there, and for how long.

A user's keys and the sets of the user's partition carry one hash tag (`{p07}`), so they are one slot of a
cluster, and one script changes them together. The registry of the nodes is a slot of its own.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Final
from zlib import crc32

PARTITIONS: Final = 64
"""Into how many parts the users are divided. Never to be changed while a deployment runs."""

LEASE_S: Final = 5.0
"""A node that has not renewed for so long is dead."""
RENEWAL_S: Final = 1.0
"""How often a node renews."""
OVERDUE_S: Final = 3.0
"""A lease that was not renewed for so long is renewed before anything is answered by it."""
SILENCE_S: Final = 3.0
"""A node listened for so long to its own channel in vain, though it renewed: the path is broken."""

HELD_S: Final = 3600
"""How long the keys of present users, of homes and of partitions outlast the departures' time at least."""
TOUCH_S: Final = 1200.0
"""How often a node puts off the end of the keys of its own users."""
TOMBSTONE_S: Final = 3600
"""For how long a partition remembers that a node is dead, so that what it still sends is refused."""
REAP_LOCK_S: Final = 10.0
"""For how long a node that reaps a dead one is left alone with it."""

LOOK_S: Final = 0.25
"""How often a node looks for deadlines in its own share of the partitions."""
LOOK_ALL_S: Final = 5.0
"""How often it does so in all."""
LOOK_MOST: Final = 64
"""How many users of a partition one look brings."""
ASK_AGAIN_MS: Final = 5000
"""After which a node is asked again to take over an orphan."""

CALL_S: Final = 2.0
"""How long Valkey may take to answer."""
CONNECT_S: Final = 2.0
CONNECTIONS: Final = 16
"""How many calls are under way at once, each on its connection; further ones wait."""
CHUNK: Final = 100
"""How many scripts go out together where there are many."""


class Keys:
    """The names, all below one prefix.

    What stands there (with its lifetime: `held` is `HELD_S` and the departures' time, renewed while it is
    needed; `kept` the backlog's seconds):

    of a user
        `presence`     hash: generation; in the grace also cause, since, departs (ms)       held
        `connections`  hash: connection -> node                                           held
        `logmeta`      hash: epoch, newest, floor, bytes                held; absent: kept
        `log`          stream: <seq>-0, fields type, data, size, group    held; absent: kept
        `home`         hash: node, token                                                  held
        `departures`   list: departures that nobody has acknowledged, oldest first         held
        `state`        hash: name -> when it lapses, when it was set, value     the longest of the values

    of a partition
        `online`       set: users with a connection                                       held
        `leaving`      sorted set: users in the grace, by when it ends (ms)                held
        `claims`       hash: user -> the node that has claimed the user's departures        held
        `waiting`      set: users with departures of which the claimer has not been told    held
        `orphans`      sorted set: users whose home is to be taken over, by when to ask (ms) held
        `clock`        string: the greatest generation, token or epoch given out (us)       held
        `index`        set of a node: users of whom it has a connection, the home or a claim  held
        `dead`         string of a node: it is dead                                  TOMBSTONE_S

    of the registry
        `nodes`        hash: node -> draining, connections, renewals                        held
        `leases`       sorted set: nodes, by when their lease ends (ms)                    held
        `lost`         sorted set: nodes that are dead and to be reaped, by since when (ms) held
        `buried`       sorted set: nodes that were declared dead in the last TOMBSTONE_S, by when   held
        `renewed`      string: when any node has renewed last (ms)                        held
        `reaper`       string of a node: who reaps it                                REAP_LOCK_S

    Args:
        prefix: Before every name; of `[a-z0-9-]`.
    """

    def __init__(self, prefix: str = "poto") -> None:
        self.prefix = prefix
        self.everybody = f"{prefix}:all"
        """The channel of all nodes."""

    def channel(self, node_id: str) -> str:
        """The channel of a node."""
        return f"{self.prefix}:n:{node_id}"

    def route(self, channel: str) -> str:
        """A key that is never set: in a cluster it says through which server a channel's messages go."""
        return f"{self.prefix}:{{{channel}}}"

    def of_registry(self, name: str, node_id: str = "") -> str:
        """A key of the registry."""
        return f"{self.prefix}:{{nodes}}:{name}{':' if node_id else ''}{node_id}"

    def of_partition(self, partition: int, name: str, node_id: str = "") -> str:
        """A key of a partition."""
        return f"{self.prefix}:{{p{partition:02}}}:{name}{':' if node_id else ''}{node_id}"

    def of_user(self, user_id: str, name: str, node_id: str) -> str:
        """A key of a user or of the user's partition, by the name that a script has for it."""
        partition = partition_of(user_id)
        if name in _OF_USER:
            return f"{self.prefix}:{{p{partition:02}}}:{name}:{user_id}"
        return self.of_partition(partition, name, node_id if name in _OF_NODE else "")


_OF_USER = frozenset({"presence", "connections", "logmeta", "log", "home", "departures", "state"})
_OF_NODE = frozenset({"index", "dead"})


@lru_cache(maxsize=65_536)
def partition_of(user_id: str) -> int:
    """The user's partition."""
    return crc32(user_id.encode("utf-8", "surrogatepass")) % PARTITIONS
