# SPDX-License-Identifier: MIT
"""
Two hosts with the same docker0, the same id, or one that is gone for good: the
newcomer gives way, and only to one that was proven to live.
"""

import json
import os
import shutil

import pytest

from node import is_well
from waiting import stays, until

PROOF_S = 60        # the proof itself takes 25 s


@pytest.fixture(scope="module")
def scene(module_cluster):
    """
    A is the core and well; every host but the clones' has docker0 with 172.17.0.1.
    All that has to be waited for (25 s of proof each) is started at once.
    """
    cluster = module_cluster
    cluster.start_etcd(cluster.host("store"))
    nodes = {"a": cluster.node(cluster.host("a", docker0=True), "a", role="core")}
    nodes["a"].wait_until(60, is_well, "well")
    # An explicit wish gives way to a claim only, and A merely lists 172.17.0.1.
    nodes["b"] = cluster.node(cluster.host("b", docker0=True), "b", role="worker:1",
                              address="docker0")
    nodes["b"].wait_until(30, lambda status: status["node"]["state"] == "active", "joined")
    nodes["c"] = cluster.node(cluster.host("c", docker0=True), "c", role="worker:1",
                              address="docker0")
    twin = cluster.host("twin", docker0=True)
    nodes["twin"] = cluster.node(twin, "a", role="core")
    original, copy = cluster.host("original"), cluster.host("copy")
    for host in (original, copy):
        os.unlink(f"{host.facts_root}/sys/class/dmi/id/product_uuid")
    nodes["first"] = cluster.node(original, "first", role="worker:1", node_id=None)
    nodes["first"].wait_until(30, is_well, "well")
    # No fact tells the two machines apart: only their both being alive does.
    os.makedirs(copy.state_dir, exist_ok=True)
    shutil.copy(f"{original.state_dir}/node-id", f"{copy.state_dir}/node-id")
    nodes["clone"] = cluster.node(copy, "clone", role="worker:1", node_id=None)
    return cluster, nodes


def ends_with(node, status):
    return until(PROOF_S, lambda: not node.process.is_running()
                 and node.process.child.returncode == status and node.log(),
                 f"{node.name} ended with {status}")


def nodes_in_store(node):
    return {entry["node"]["id"]: entry["node"] for entry in node.status(cluster=True)["nodes"]}


def test_docker0_falls_out_by_proof(scene):
    """Not by its name: the address that two live hosts have says nothing."""
    _, nodes = scene
    assert nodes["a"].status()["node"]["address"] == nodes["a"].host.address
    assert nodes["b"].status()["node"]["address"] == "172.17.0.1"
    log = ends_with(nodes["c"], 4)
    assert "172.17.0.1" in log and "host 'b'" in log
    assert "VERDICT" in log, "the whole candidate table"
    assert "c" not in nodes_in_store(nodes["a"])


def test_a_live_twin_is_refused_naming_both(scene):
    _, nodes = scene
    log = ends_with(nodes["twin"], 4)
    for host_name in ("'a'", "'twin'"):
        assert f"host {host_name}" in log
    assert log.count("boot id") >= 2 and "--node-id" in log
    nodes["a"].wait_until(30, is_well, "well")
    assert nodes_in_store(nodes["a"])["a"]["address"] == nodes["a"].host.address


def test_a_clone_takes_an_id_of_its_own(scene):
    _, nodes = scene
    first, clone = nodes["first"], nodes["clone"]
    status = clone.wait_until(PROOF_S, is_well, "well under another id")
    first_id = first.status()["node"]["id"]
    assert status["node"]["id"] != first_id
    assert "clone" in clone.log()
    first.wait_until(30, is_well, "well")
    with open(f"{clone.host.state_dir}/node-id", encoding="utf-8") as file:
        assert json.load(file)["id"] == status["node"]["id"]
    until(10, lambda: {first_id, status["node"]["id"]} <= set(nodes_in_store(nodes["a"])),
          "both in the store")


def test_a_dead_node_is_forgotten_and_its_slots_are_taken(scene):
    cluster, nodes = scene
    a, b = nodes["a"], nodes["b"]
    taken = set(b.services())
    assert a.ctl("node", "forget", "b")[0] != 0, "it is registered"
    b.host.kill_all()
    until(40, lambda: "b" not in nodes_in_store(a), "its lease to end")
    status, output = a.ctl("node", "forget", "b", "-m", "burnt")
    assert status == 0, output
    heir = cluster.node(cluster.host("heir"), "heir", role="worker:1")
    heir.wait_until(30, is_well, "well")
    assert set(heir.services()) == taken
    assert a.ctl("node", "forget", "b")[0] == 2, "nobody of that name"


def test_a_core_that_is_only_cut_off_is_not_forgotten(scene):
    _, nodes = scene
    a, other = nodes["a"], nodes["first"]
    units = a.pids()
    a.process.kill()
    until(40, lambda: "a" not in nodes_in_store(other), "its lease to end")
    status, output = other.ctl("node", "forget", "a")
    assert status != 0 and "answers" in output and "--force" in output
    stays(1, lambda: all(a.host.has_process(pid) for pid in units.values()), "its units")
    a.host.kill_all()
    status, output = other.ctl("node", "forget", "a")
    assert status == 0, output
    shown = json.loads(other.ctl("config", "show", "--json")[1])
    assert shown["services"]["EvaluationService"][0]["kind"] == "vacant"


def test_reset_identity_takes_effect_at_the_next_start(scene):
    cluster, nodes = scene
    node = nodes["clone"]
    before = node.status()["node"]["id"]
    assert node.ctl("node", "reset-identity")[0] == 0
    assert node.status()["node"]["id"] == before
    assert node.stop() == 0
    again = cluster.node(node.host, "again", role="worker:1", node_id=None)
    until(30, lambda: again.status()["node"]["id"] != before, "another id")
