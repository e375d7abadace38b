# SPDX-License-Identifier: MIT
"""
cmsnoded in host-network containers on two hosts whose docker0 is the same: A is
the core, B has two Workers. The tests of this file share them and leave them
well, the last one excepted.
"""

import json
import os
import time

import pytest

import rpc
from image import ORPHANS_BIN
from network import ip
from node import coord, is_well
from waiting import stays, until

PREFIX = "/two-hosts"
CORE = {"LogService,0", "ScoringService,0", "Checker,0", "EvaluationService,0", "AdminWebServer,0",
        "ProxyService,0"}
WORKERS = {"Worker,0", "Worker,1"}
JOIN_S = 60                 # the first node waits 15 s before it believes that the store is new


@pytest.fixture(scope="module")
def two(site):
    for host, role in (("a", "core"), ("b", "worker:2")):
        site.run(host, f"{host}-{role[:4]}", role=role, prefix=PREFIX,
                 seed_config=site.configuration())
    site.wait_until_well(JOIN_S)
    a, b = site.nodes
    until(JOIN_S, lambda: b.services().keys() == WORKERS, "two Workers on B")
    site.wait_until_well(JOIN_S)
    yield site
    site.forget(*site.nodes)


@pytest.fixture(autouse=True)
def only_these_two(two):    # pylint: disable=redefined-outer-name
    """What a test adds ends with it, also when it fails; in order, so that no lease is left."""
    yield
    for node in two.nodes[2:]:
        node.engine.ask("stop", node.name)
    two.forget(*two.nodes[2:])


def registrations(site):
    start = f"{PREFIX}/nodes/"
    return {key[len(start):]: json.loads(text) for key, text in site.etcd.keys(start).items()}


def claims(site):
    """{address: ids}"""
    found = {}
    for key in site.etcd.keys(f"{PREFIX}/addresses/"):
        address, node = key.split("/")[-2:]
        found.setdefault(address, set()).add(node)
    return found


def programs(container):
    """{"cmsWorker": 2, ...}: what runs there, whatever the daemon says."""
    count = {}
    for pid, (_, _, args) in container.processes().items():
        names = [os.path.basename(word) for word in args.split()]
        for name in [name for name in names if name.startswith("cms") and pid != 1][:1]:
            count[name] = count.get(name, 0) + 1
    return count


def program(pid):
    with open(f"/proc/{pid}/comm", encoding="utf-8") as file:
        return file.read().strip()


def workers_connected(a):
    address = a.services()["EvaluationService,0"]["address"]
    return sum(worker["connected"]
               for worker in rpc.call(a.host, address, "workers_status").values())


def test_each_node_has_its_own_identity_and_the_address_of_eth0(two):
    for node in two.nodes:
        docker0 = json.loads(ip("-json", "-n", node.host.namespace, "addr", "show", "docker0"))
        assert [entry["local"] for entry in docker0[0]["addr_info"] if entry["family"] == "inet"] \
            == ["172.17.0.1"], "this is what these tests are about"
        shown = node.status()["node"]
        assert (shown["address"], shown["interface"]) == (node.host.address, "eth0")
    a, b = two.nodes
    assert a.id() != b.id()
    found = registrations(two)
    assert found.keys() == {a.id(), b.id()}
    assert {found[node.id()]["address"] for node in two.nodes} == \
        {node.host.address for node in two.nodes}
    assert claims(two) == {node.host.address: {node.id()} for node in two.nodes}


def test_each_runs_only_its_own_services(two):
    a, b = two.nodes
    assert a.services().keys() == CORE
    assert b.services().keys() == WORKERS
    assert programs(a) == {f"cms{name.split(',')[0]}": 1 for name in CORE}
    assert programs(b) == {"cmsWorker": 2}
    for node, other in ((a, b), (b, a)):
        for entry in node.status()["services"]:     # with ResourceService
            assert entry["address"].startswith(f"{node.host.address}:")
            assert rpc.call(other.host, entry["address"], "echo", string="x") == "x"
    until(20, lambda: workers_connected(a) == 2, "EvaluationService connected to both Workers")


def test_both_show_the_same_cluster(two):
    def seen_by(node):
        return {shown["node"]["id"]: (shown["node"]["address"], tuple(shown["node"]["roles"]),
                                      frozenset(coord(entry) for entry in shown["services"]))
                for shown in node.status(cluster=True)["nodes"]}
    a, b = two.nodes
    until(10, lambda: seen_by(a) == seen_by(b), "A and B agree")
    assert {node: (address, services) for node, (address, _, services) in seen_by(a).items()} == {
        node.id(): (node.host.address, {coord(entry) for entry in node.status()["services"]})
        for node in (a, b)}


def test_a_container_made_anew_on_its_volume_is_the_same_node_at_once(two):
    a, old = two.nodes
    before, services = registrations(two), old.services()
    identity = old.id()
    new = two.create("b", "b-anew", role="worker:2", prefix=PREFIX, volume=old.volume)
    old.remove()
    assert registrations(two) == before, "nothing was revoked, the lease goes on"
    started = time.monotonic()
    new.start()
    two.nodes.remove(old)
    until(6, lambda: registrations(two).get(identity, {}).get("incarnation")
          not in (None, before[identity]["incarnation"]), "its registration taken over")
    new.wait_until(5, lambda status: status["node"]["state"] == "active", "active")
    assert time.monotonic() - started < 8, "the old lease of 10 s was waited for"
    status = new.wait_until(20, is_well, "well again")
    assert (status["node"]["id"], status["node"]["id_source"]) == (identity, "state-file")
    assert registrations(two).keys() == before.keys()
    assert {name: entry["address"] for name, entry in new.services().items()} == \
        {name: entry["address"] for name, entry in services.items()}
    assert claims(two)[new.host.address] == {identity}
    until(20, lambda: workers_connected(a) == 2, "EvaluationService connected again")


@pytest.mark.parametrize("same", ["volume", "id"])
def test_a_second_one_without_instance_is_refused_and_told_by_whom(two, same):
    first = two.nodes[1]
    before, pids = registrations(two), first.pids()
    settings = {"volume": first.volume} if same == "volume" else {"node_id": first.id()}
    twin = two.run("b", f"b-twin-{same}", role="contest-web", prefix=PREFIX, **settings)
    assert twin.process.wait(20) == 4
    for word in (first.id(), first.host.address, "--instance"):
        assert word in twin.log(), f"'{word}' is not in the message"
    assert registrations(two) == before
    stays(2, lambda: first.process.is_running() and first.pids() == pids, "the first goes on")


def test_what_units_leave_behind_is_buried_by_pid_1(two):
    node = two.run("b", "b-orphans", role="worker:1", cms_bin=ORPHANS_BIN, prefix=PREFIX)
    node.wait_until(30, lambda status: is_well(status) and len(node.pids()) == 1, "a Worker")

    def orphans():
        return [pid for pid, (parent, _, args) in node.processes().items()
                if parent == 1 and args.startswith("sleep ")]
    (worker,) = node.pids().values()
    node.engine.docker("exec", node.name, "kill", "-KILL", str(worker))
    until(10, lambda: len(orphans()) == 2, "two orphans of the new one, adopted by PID 1")
    until(10, lambda: not orphans(), "the end of the orphans")
    until(5, lambda: not node.zombies(), "no zombies")
    node.wait_until(20, is_well, "well again")
    assert node.stop() == 0


@pytest.mark.parametrize("volume", ["own", "shared"])
def test_an_instance_beside_it_shares_the_address_and_no_port(two, volume):
    a, first = two.nodes
    before = first.services()
    settings = {"own": {"node_id": first.id()}, "shared": {"volume": first.volume}}[volume]
    second = two.run("b", f"b-{volume}", role="contest-web,worker:2", instance=volume,
                     prefix=PREFIX, **settings)
    second.wait_until(30, lambda status: is_well(status) and len(second.services()) == 3,
                      "well with a ContestWebServer and two Workers")
    assert second.id() == f"{first.id()}.{volume}"
    assert second.status()["node"]["address"] == first.host.address
    assert claims(two)[first.host.address] == {first.id(), second.id()}
    addresses = [entry["address"] for node in (first, second)
                 for entry in node.status()["services"]]
    assert len(addresses) == 2 + 1 + 2 + 2      # with a ResourceService each
    assert len(set(addresses)) == len(addresses)
    assert {name: entry["pid"] for name, entry in first.services().items() if name in before} == \
        {name: entry["pid"] for name, entry in before.items()}
    for node in (first, second):
        for name, entry in node.services().items():
            assert rpc.call(first.host, entry["address"], "echo", string=name) == name
    for value in ("true", "false", "true", "false"):    # both write files for each generation
        a.change(f"worker.keep_sandbox={value}")
        two.wait_until_well(20)
    assert second.stop() == 0
    first.wait_until(30, is_well, "well without it")


def test_docker_stop_ends_everything_in_its_10_seconds(two):
    for node in reversed(two.nodes):
        identity = node.id()
        began = time.monotonic()
        assert node.stop() == 0, "137 would be docker's kill after its 10 s"
        assert time.monotonic() - began < 10
        assert not node.inspect()["State"]["Running"]
        assert identity not in registrations(two)
        assert [name for name in map(program, node.host.pids()) if name.startswith("cms")] == []
