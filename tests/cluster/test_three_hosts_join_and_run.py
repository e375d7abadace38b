# SPDX-License-Identifier: MIT
"""
Three hosts, each with the same docker0, and an etcd on a fourth: A is the core,
B and C have Workers. The tests of this file share them and leave them well,
the last one excepted.
"""

import os
import signal

import pytest

import rpc
from node import Node, coord, is_well
from waiting import stays, until

CORE = {"LogService,0", "ScoringService,0", "Checker,0", "EvaluationService,0", "AdminWebServer,0",
        "ProxyService,0"}
# Of the services that run here, those that do not read database.url.
DATABASE_IGNORED = {"LogService,0", "Checker,0"}
JOIN_S = 60                 # the first node waits 15 s before it believes that the store is new


@pytest.fixture(scope="module")
def three(module_cluster):
    cluster = module_cluster
    cluster.start_etcd(cluster.host("store"))
    for name, role in (("a", "core"), ("b", "worker:2"), ("c", "worker:2")):
        cluster.node(cluster.host(name, docker0=True), name, role=role)
    a, b, c = cluster.nodes
    until(JOIN_S, lambda: len(workers_of(b)) == len(workers_of(c)) == 2, "two Workers on B and C")
    cluster.wait_until_well(JOIN_S)
    until(JOIN_S, lambda: workers_connected(a) == 4, "EvaluationService connected to four Workers")
    return cluster


def workers_of(node):
    return [name for name in node.services() if name.startswith("Worker,")]


def workers_connected(a):
    address = a.services()["EvaluationService,0"]["address"]
    return sum(worker["connected"]
               for worker in rpc.call(a.host, address, "workers_status").values())


def all_pids(cluster):
    return {(node.name, name): pid for node in cluster.nodes for name, pid in node.pids().items()}


def changed(before, after):
    assert before.keys() == after.keys()
    return {key for key in before if before[key] != after[key]}


def expect_restarts(cluster, before, expected):
    """Exactly these, by pid, and all is well afterwards."""
    until(30, lambda: changed(before, all_pids(cluster)) >= expected, f"restart of {expected}")
    cluster.wait_until_well(30)
    stays(2, lambda: changed(before, all_pids(cluster)) == expected, f"only {expected} restarted")


def test_every_service_runs_on_the_host_whose_role_it_is(three):
    a, b, c = three.nodes
    assert a.services().keys() == CORE
    assert sorted(workers_of(b) + workers_of(c)) == ["Worker,0", "Worker,1", "Worker,2", "Worker,3"]
    for node in three.nodes:
        for name, entry in node.services().items():
            assert entry["address"].startswith(f"{node.host.address}:"), f"{name} on {node.name}"
            assert node.host.has_process(entry["pid"]), f"{name} runs elsewhere than on {node.name}"


def test_services_answer_from_other_hosts(three):
    nodes = three.nodes
    for node, other in zip(nodes, nodes[1:] + nodes[:1]):
        for entry in node.status()["services"]:     # with ResourceService
            answer = rpc.call(other.host, entry["address"], "echo", string=coord(entry))
            assert answer == coord(entry)


def test_each_node_chose_its_own_address_and_not_docker0(three):
    def look():     # a status is in the store within a second
        nodes = three.nodes[1].status(cluster=True)["nodes"]
        seen = {node["node"]["id"]: node for node in nodes}
        return seen if len(seen) == len(three.nodes) else None
    seen = until(10, look, "all three in the store")
    assert {name: seen[name]["node"]["address"] for name in seen} == \
        {node.name: node.host.address for node in three.nodes}
    for node in three.nodes:
        status = node.status()
        assert status["node"]["interface"] == "eth0"
        assert status["node"]["id"] == node.name
        assert {coord(entry) for entry in seen[node.name]["services"]} == \
            {coord(entry) for entry in status["services"]}


def test_a_killed_unit_comes_back_and_the_others_stay(three):
    before = all_pids(three)
    victim = three.nodes[1]
    name = sorted(victim.pids())[0]
    os.kill(before[(victim.name, name)], signal.SIGKILL)
    expect_restarts(three, before, {(victim.name, name)})
    entry = victim.services()[name]
    assert "KILL" in entry["last_exit"] and entry["restarts"] == 1
    until(10, lambda: workers_connected(three.nodes[0]) == 4, "the Worker connected again")


def test_no_unit_stops_while_etcd_is_away(three):
    before = all_pids(three)
    three.etcd.stop()
    for node in three.nodes:
        node.wait_until(15, lambda status: not status["store"]["connected"], "etcd seen as away")
    stays(5, lambda: all_pids(three) == before, "all units as before")
    three.etcd.start()
    for node in three.nodes:
        node.wait_until(30, lambda status: status["store"]["connected"], "etcd seen again")
    three.wait_until_well(30)
    assert all_pids(three) == before


def test_a_changed_worker_setting_restarts_the_workers_only(three):
    before = all_pids(three)
    three.nodes[0].change("worker.keep_sandbox=true")
    expect_restarts(three, before, {key for key in before if key[1].startswith("Worker,")})
    assert three.nodes[2].ctl("config", "get", "worker.keep_sandbox")[1].strip() == "true"


def test_a_changed_database_restarts_exactly_its_readers(three):
    before = all_pids(three)
    three.nodes[1].change("database.url=postgresql+psycopg2://cmsuser:other@localhost:5432/cmsdb")
    expect_restarts(three, before, {key for key in before if key[1] not in DATABASE_IGNORED})
    # Changed for everybody, and shown to nobody.
    assert "other" not in three.nodes[2].ctl("config", "get", "database.url")[1]
    assert "cmsuser:other@" in three.nodes[2].ctl("config", "get", "database.url", "--reveal")[1]


def test_a_second_daemon_of_the_same_node_is_refused_and_told_by_whom(three):
    first = three.nodes[0]
    before = all_pids(three)
    folder = os.path.join(first.host.directory, "twin")
    os.makedirs(folder)
    twin = Node(first.host, first.name, role="core", etcd=three.etcd.urls,
                state_dir=os.path.join(folder, "state"), run_dir=os.path.join(folder, "run"))
    twin.log_path = lambda: os.path.join(folder, "log")
    twin.start()
    assert twin.process.wait(40) == 4
    assert str(first.process.pid) in twin.log() or first.host.address in twin.log()
    assert all_pids(three) == before


def test_term_stops_everything_and_leaves_no_registration(three):
    a, b, c = three.nodes
    before = all_pids(three)
    assert "/cms/nodes/c" in three.etcd.keys("/cms/nodes/")
    assert c.stop() == 0
    assert c.host.pids() == []
    until(3, lambda: "/cms/nodes/c" not in three.etcd.keys("/cms/nodes/"),
          "the registration revoked, long before its lease ends")
    until(10, lambda: workers_connected(a) == 2, "EvaluationService left with two Workers")
    for node in (a, b):
        node.wait_until(10, is_well, "well without C")
        assert all(before[(node.name, name)] == pid for name, pid in node.pids().items())
