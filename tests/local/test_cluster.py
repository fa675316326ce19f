from __future__ import annotations

import redis
from redis.crc import key_slot

from local.cluster import SLOTS, ValkeyCluster
from tests.servers import is_up, until


def test_a_cluster_has_its_slots_and_replicas_and_leaves_nothing_behind() -> None:
    with ValkeyCluster("--maxmemory", "50mb", shards=2, replicas=1) as cluster:
        with redis.RedisCluster.from_url(cluster.url) as client:
            for number in range(100):
                client.set(f"key:{number}", number)
        sizes = [node.client.dbsize() for node in cluster.primaries]
        served = sorted(tuple(entry[:2]) for entry in cluster.replicas[1][0].cluster("SLOTS"))
        ports = [node.port for node in cluster.nodes]

        assert sum(sizes) == 100
        assert all(sizes)
        assert served == [(0, SLOTS // 2 - 1), (SLOTS // 2, SLOTS - 1)]
        assert cluster.owner(SLOTS // 2 - 1) is cluster.primaries[0]
        assert cluster.owner(SLOTS // 2) is cluster.primaries[1]
        assert [node.client.config_get("maxmemory")["maxmemory"] for node in cluster.nodes] == [str(50 * 2**20)] * 4
        assert len(ports) == 4
    assert not any(is_up(port) for port in ports)


def test_a_promoted_replica_has_what_was_replicated_and_the_slots() -> None:
    with ValkeyCluster(shards=2, replicas=1) as cluster:
        lost, replica, other = cluster.primaries[0], cluster.replicas[0][0], cluster.primaries[1]
        key = next(f"key:{number}" for number in range(1000) if key_slot(b"key:%d" % number) < SLOTS // 2)
        lost.client.set(key, "value")
        assert lost.client.wait(1, 10_000) == 1

        lost.kill()
        cluster.promote(replica)

        assert replica.client.get(key) == b"value"
        until(lambda: any(entry[2][1] == replica.port for entry in other.cluster("SLOTS")))
