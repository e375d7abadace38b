# SPDX-License-Identifier: MIT
"""
Which address a node takes when it is told, when it cannot know, and when its
host's addresses change under it. Every host has the same docker0.
"""

import json

import pytest

import rpc
from network import ETC, ip
from node import coord
from waiting import stays, until

JOIN_S = 60                 # the first node waits 15 s before it believes that the store is new
REFUSED_S = 14              # 10 s of quiet, and the start
NO_ETCD = "http://127.0.0.1:2379"
ELSEWHERE = "10.88.0.5"     # eth1, a network that no route speaks for


def two_networks(cluster, name):
    """A host with a second interface, as physical or virtual as the first."""
    host = cluster.host(name, docker0=True)
    ip("-n", host.namespace, "link", "add", "eth1", "type", "veth", "peer", "name", "eth1-peer")
    ip("-n", host.namespace, "link", "set", "eth1-peer", "up")
    ip("-n", host.namespace, "link", "set", "eth1", "up")
    ip("-n", host.namespace, "addr", "add", f"{ELSEWHERE}/24", "dev", "eth1")
    with open(f"{ETC}/{host.namespace}/hosts", "a", encoding="utf-8") as hosts:
        hosts.write("10.88.0.99\tdatabase.test\n")
    return host


def candidates(node):
    status, output = node.ctl("explain", "address", "--json")
    assert status == 0, output
    return {entry["address"]: entry for entry in json.loads(output)["address"]["candidates"]}


@pytest.mark.parametrize("wish, expected, interface", [
    (None, "eth0's", "eth0"),
    ("eth0", "eth0's", "eth0"),
    ("eth1", ELSEWHERE, "eth1"),
    ("10.88.0.0/16", ELSEWHERE, "eth1"),
    (ELSEWHERE, ELSEWHERE, "eth1"),
    ("reach:10.88.0.99", ELSEWHERE, "eth1"),
    ("reach:database.test", ELSEWHERE, "eth1"),
    ("reach:172.17.0.9", "172.17.0.1", "docker0"),
    ("docker0", "172.17.0.1", "docker0"),
])
def test_a_wish_is_followed(cluster, wish, expected, interface):
    host = two_networks(cluster, "a")
    node = cluster.node(host, "a", role="core", etcd=NO_ETCD, address=wish)
    node.wait_until(10, lambda status: status["node"]["address"], "an address")
    status = node.status()["node"]
    assert status["address"] == (host.address if expected == "eth0's" else expected)
    assert status["interface"] == interface
    told = candidates(node)
    assert told["127.0.0.1"]["excluded"]
    assert told["172.17.0.1"]["excluded"] == (interface != "docker0")
    assert node.process.is_running()


def rows(log, address):
    return [line for line in log.splitlines() if f" {address} " in line]


def test_a_wish_that_cannot_be_satisfied_ends_with_4_and_the_whole_table(cluster):
    wishes = {"a": "10.9.9.9", "b": "eth7", "c": "192.0.2.0/24", "d": "reach:nowhere.test"}
    nodes = {name: cluster.node(two_networks(cluster, name), name, role="core", etcd=NO_ETCD,
                                address=wish)
             for name, wish in wishes.items()}
    for name, node in nodes.items():
        assert node.process.wait(REFUSED_S) == 4, f"--address {wishes[name]}"
        log = node.log()
        assert f"--address {wishes[name]} cannot be satisfied" in log
        assert "RANK" in log and "VERDICT" in log
        for address in (node.host.address, ELSEWHERE, "172.17.0.1", "127.0.0.1"):
            assert any("dropped" in line for line in rows(log, address)), f"{address}:\n{log}"


def test_an_ambiguous_host_ends_with_4_and_names_what_would_settle_it(cluster):
    host = two_networks(cluster, "a")
    cluster.start_etcd(host, loopback=True)
    ip("-n", host.namespace, "route", "del", "default")
    node = cluster.node(host, "a", role="core")
    stays(5, node.process.is_running, "no decision before 10 s")
    assert node.process.wait(REFUSED_S) == 4
    log = node.log()
    for address in (host.address, ELSEWHERE):
        assert any(" equal " in line for line in rows(log, address)), log
    assert any("a bridge with neither" in line for line in rows(log, "172.17.0.1")), log
    assert "name one with --address" in log
    assert cluster.etcd.keys("/cms/") == {}


def test_a_route_that_comes_late_settles_what_was_ambiguous(cluster):
    host = two_networks(cluster, "a")
    ip("-n", host.namespace, "route", "del", "default")
    node = cluster.node(host, "a", role="core", etcd=NO_ETCD)
    until(5, lambda: "are equal by every rule" in node.log(), "the ambiguity told")
    ip("-n", host.namespace, "route", "add", "default", "via", "10.88.0.1")
    node.wait_until(5, lambda status: status["node"]["address"] == ELSEWHERE, "eth1 taken")


def test_a_host_without_any_address_waits_for_dhcp(cluster):
    host = cluster.host("a", docker0=True)
    ip("-n", host.namespace, "addr", "flush", "dev", "eth0")
    # An etcd elsewhere: with one on loopback a loopback address would do.
    node = cluster.node(host, "a", role="core", etcd=f"http://{host.network.prefix}.2:2379")
    until(5, lambda: "waiting for the network" in node.log(), "the lack told")
    stays(12, node.process.is_running, "waiting, beyond the 10 s after which doubt is final")
    lines = [line for line in node.log().splitlines() if "no usable address" in line]
    assert len(lines) == 1, "said once"
    ip("-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "eth0")
    node.wait_until(5, lambda status: status["node"]["address"] == host.address, "taken")


# ---- addresses that change under a running node -----------------------------

@pytest.fixture(scope="module")
def two(module_cluster):
    cluster = module_cluster
    cluster.start_etcd(cluster.host("store"))
    for name, role in (("a", "core"), ("b", "worker:2")):
        cluster.node(cluster.host(name, docker0=True), name, role=role)
    a, b = cluster.nodes
    until(JOIN_S, lambda: len(b.pids()) >= 2, "two Workers on B")
    cluster.wait_until_well(JOIN_S)
    until(JOIN_S, lambda: workers_connected(a) == 2, "EvaluationService connected to both")
    return cluster


def workers_connected(a):
    address = a.services()["EvaluationService,0"]["address"]
    return sum(worker["connected"]
               for worker in rpc.call(a.host, address, "workers_status").values())


def all_pids(cluster):
    return {(node.name, name): pid for node in cluster.nodes for name, pid in node.pids().items()}


def move(host, *addresses):
    """eth0 has these addresses from now on, the first of them with the default route."""
    ip("-n", host.namespace, "-4", "addr", "flush", "dev", "eth0")
    for address in addresses:
        ip("-n", host.namespace, "addr", "add", f"{address}/24", "dev", "eth0")
    if addresses:
        ip("-n", host.namespace, "route", "add", "default", "via", f"{host.network.prefix}.1")


def seen_by(node):
    """{id: address} of all live nodes"""
    return {other["node"]["id"]: other["node"]["address"]
            for other in node.status(cluster=True)["nodes"]}


def test_docker0_of_both_is_explained(two):
    for node in two.nodes:
        docker0 = candidates(node)["172.17.0.1"]
        assert docker0["excluded"] and "bridge" in docker0["reason"]
        status, output = node.ctl("explain", "address")
        assert status == 0 and "172.17.0.1" in output and node.host.address in output


def test_all_addresses_lost_and_nothing_stops(two):
    a, b = two.nodes
    before = all_pids(two)
    pids = b.pids()
    move(b.host)
    until(15, lambda: "no usable address now" in b.log(), "the loss told")
    # Longer than its lease: the others miss it, it does not.
    until(30, lambda: "b" not in seen_by(a), "A misses B")
    stays(2, lambda: b.process.is_running() and b.pids() == pids, "its services run on")
    move(b.host, b.host.address)
    until(30, lambda: seen_by(a).get("b") == b.host.address, "B is back")
    two.wait_until_well(30)
    until(30, lambda: workers_connected(a) == 2, "EvaluationService connected again")
    assert b.pids() == pids, "the same processes as before"
    # The Workers' seats were kept while B was away, so nobody else had a reason to restart either.
    assert all_pids(two) == before


def test_a_new_address_is_followed_under_the_same_identity(two):
    a, b = two.nodes
    before = all_pids(two)
    incarnation = b.process.pid
    new = f"{b.host.network.prefix}.60"
    move(b.host, new)
    until(30, lambda: seen_by(a).get("b") == new, "A sees B at its new address")
    b.host.address = new
    until(30, lambda: all(entry["address"].startswith(f"{new}:")
                          for entry in b.services().values()), "B's services are there")
    two.wait_until_well(40)
    until(30, lambda: workers_connected(a) == 2, "EvaluationService connected to both")
    assert b.process.pid == incarnation and b.status()["node"]["id"] == "b"
    assert set(seen_by(a)) == {"a", "b"}
    # Those that moved, and, a little later, those that had the old address in their hands.
    until(30, lambda: {key for key, pid in all_pids(two).items() if pid != before[key]} ==
          {("b", "Worker,0"), ("b", "Worker,1"), ("a", "EvaluationService,0"),
           ("a", "AdminWebServer,0")}, "only these restarted")
    two.wait_until_well(40)
    until(30, lambda: workers_connected(a) == 2, "EvaluationService connected to both")
    for entry in b.status()["services"]:
        assert rpc.call(a.host, entry["address"], "echo", string=coord(entry)) == coord(entry)


def test_a_second_address_changes_nothing(two):
    a, b = two.nodes
    before = all_pids(two)
    extra = f"{b.host.network.prefix}.61"
    ip("-n", b.host.namespace, "addr", "add", f"{extra}/24", "dev", "eth0")
    until(10, lambda: extra in candidates(b), "the second address seen")
    stays(5, lambda: seen_by(a)["b"] == b.host.address and all_pids(two) == before, "as before")
