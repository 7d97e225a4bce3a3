"""An event that can't reach a connection is made up for soon, or a gap is told: nobody waits in silence."""

from __future__ import annotations

from potoserver.events import Event
from tests.support.engines import Cluster


async def test_who_is_connected_is_told_at_once_of_an_event_that_is_not_there(cluster: Cluster) -> None:
    """Though no other event comes."""
    one, two = [await cluster.node() for _ in range(2)]
    await one.engine.attach("a1", "c1")
    await two.engine.attach("a1", "c2")
    before = await two.engine.publish("a1", Event("note", {"id": "m-1"}))
    await one.told.until(lambda: one.told.ids_of("a1") == [before])
    assert not await two.engine.ensure_logged("a1", "note", "m-2")
    for node in (one, two):
        await node.told.until(lambda node=node: node.told.gaps == ["a1"])


async def test_a_message_that_no_node_understands_does_not_deafen_one(cluster: Cluster) -> None:
    """It is logged; what comes behind it is heard."""
    one = await cluster.node()
    await one.engine.attach("a1", "c1")
    with cluster.client() as client:
        for message in (b"e what", b"m \xff\n", b"?"):
            client.publish(one.engine._keys.channel(one.id), message)
    event_id = await one.engine.publish("a1", Event("note"))
    await one.told.until(lambda: one.told.ids_of("a1") == [event_id])
    assert one.engine.trouble is None
