# SPDX-License-Identifier: MIT
"""A node is told of one etcd member; the others it learns, and goes on with them."""

from waiting import until

JOIN_S = 60
RECOVER_S = 60


def test_the_only_endpoint_given_dies(cluster):
    etcd = cluster.start_etcd(*(cluster.host(f"m{i}") for i in range(3)))
    given = etcd.urls.split(",")[0]
    node = cluster.node(cluster.host("a"), "a", role=None, etcd=given)
    cluster.wait_until_well(JOIN_S)
    others = [url.removeprefix("http://") for url in etcd.urls.split(",")[1:]]

    def learnt():
        return all(f"endpoint '{other}' is learnt from etcd" in node.log() for other in others)
    until(JOIN_S, learnt, "the other members")
    etcd.kill(0)

    def goes_on():
        node.change("topology.settle_s=7")
        return True
    until(RECOVER_S, goes_on, "a change through another member")
    store = node.status()["store"]
    assert store["connected"] and store["endpoint"] != given, store
    assert any('"settle_s":7' in value.replace(" ", "")
               for value in etcd.keys("/cms/configs/", member=1).values())
