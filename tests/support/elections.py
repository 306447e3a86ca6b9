"""An unclean election: a replica that missed records becomes leader, and the log has lost its tail."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from confluent_kafka.admin import AdminClient, NewTopic

from include.kafka.ranges import freeze_ranges
from tests.support.processes import wait_for
from tests.support.producers import Record, produce

if TYPE_CHECKING:
    from include.kafka.connection import KafkaConnection
    from include.local.broker import Cluster

# For an election, or for a node to start, on a loaded machine.
TIMEOUT_S = 180


def lose_tail(
    cluster: Cluster,
    kafka: KafkaConnection,
    topic: str,
    *,
    kept: Sequence[Record],
    lost: Sequence[Record],
    work: Callable[[], None],
) -> None:
    """Create a topic on two of three nodes, write records, work through them, and let the second node lead.

    Args:
        kept: the records that both replicas have.
        lost: the records that only the first leader has.
        work: called when consumers see all records, before the leader is killed.
    """
    leader, follower, _ = cluster.nodes
    careless = {"unclean.leader.election.enable": "true", "min.insync.replicas": "1"}
    new = NewTopic(topic, num_partitions=1, replica_assignment=[[leader.id, follower.id]], config=careless)
    with AdminClient(dict(kafka.settings)) as admin:
        admin.create_topics([new])[topic].result(TIMEOUT_S)
        produce(kafka, topic, kept, timeout_s=TIMEOUT_S)
        follower.kill()
        # These are written once the dead follower has left the in-sync replicas.
        produce(kafka, topic, lost, timeout_s=TIMEOUT_S)
        end = len(kept) + len(lost)
        wait_for(lambda: freeze_ranges(kafka, topic)[0].end == end, "the records to be visible", timeout_s=TIMEOUT_S)
        work()
        leader.kill()
        follower.start()

        def leads() -> bool:
            partition = admin.list_topics(topic, timeout=TIMEOUT_S).topics[topic].partitions[0]
            return bool(partition.leader == follower.id)

        wait_for(leads, "the replica that missed records to lead", timeout_s=TIMEOUT_S)
