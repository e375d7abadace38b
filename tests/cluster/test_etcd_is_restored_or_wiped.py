# SPDX-License-Identifier: MIT
"""
All three members lose what the nodes have agreed to: they are made anew from
an older snapshot, or from nothing, while a newcomer joins. Nobody may decide by
itself which of the two is right; when a person has said so, all follow, and no
unit is touched. See fault_scene.py for what has to hold afterwards.
"""

import os

import pytest

from fault_scene import RECOVER_S, clock
from waiting import stays, until

pytestmark = pytest.mark.slow
# Longer than anything that folds by itself: joins 5 s, departures 30 s of contact, seeds 15 s.
QUIET_S = 35


def lose(scene, make_members):
    """All members die and are made anew."""
    scene.etcd.kill()
    make_members()
    scene.etcd.start()


def told(node, *words):
    """One of these words is in what `status` says."""
    text = node.ctl("status")[1]
    assert any(word in text for word in words), text
    return True


def expect_no_decision(scene, current):
    """Nodes and newcomer do nothing for longer than they would wait for anything."""
    stays(QUIET_S, lambda: scene.current() == current, "what etcd holds")
    scene.expect_same_units()


def decide(scene, node, verb, epoch, number):
    """A person says which is right, and all agree to that: one epoch later, with this change."""
    since = clock()
    status, output = node.ctl("store", verb)
    assert status == 0, output
    until(RECOVER_S, lambda: scene.expect_change(number, scene.nodes), f"change {number} agreed")
    assert scene.current()["epoch"] == epoch + 1
    return since


@pytest.mark.parametrize("verb, newcomer, role", [("publish", "d", "Checker"),
                                                 ("accept", "e", "PrometheusExporter")])
def test_restored_while_a_newcomer_joins(scene, verb, newcomer, role):
    a, b, *_ = scene.nodes
    nodes = list(scene.nodes)
    path = os.path.join(scene.cluster.directory, f"{verb}.snapshot")
    older = scene.change(a)
    held = scene.current()
    scene.etcd.snapshot(path)
    scene.change(b)
    newer = scene.change_reaches(a, nodes)

    def make_members():
        scene.etcd.restore(path)
        scene.add_node(newcomer, role)
    lose(scene, make_members)
    for node in nodes:
        until(RECOVER_S, lambda node=node: told(node, "behind", "restored"), f"{node.name} says it")
    until(RECOVER_S, lambda: f"/cms/nodes/{newcomer}" in scene.keys("/cms/nodes/"), "registered")
    assert scene.current() == held
    expect_no_decision(scene, held)

    since = decide(scene, b, verb, held["epoch"], newer if verb == "publish" else older)
    scene.recover(f"restored from an older snapshot, from store {verb} on", since)


def test_restored_while_only_a_newcomer_reaches_it(new_scene):
    """No registration shows that somebody went on: only the store itself can tell."""
    scene = new_scene()
    a, b, c = nodes = list(scene.nodes)
    path = os.path.join(scene.cluster.directory, "alone.snapshot")
    scene.change_reaches(a, nodes)
    held = scene.current()
    scene.etcd.snapshot(path)
    number = scene.change_reaches(b, nodes)
    hosts = [node.host for node in nodes]
    scene.cluster.network.cut(hosts, scene.etcd.hosts)
    lose(scene, lambda: scene.etcd.restore(path))
    newcomer = scene.add_node("g", "contest-web")
    until(RECOVER_S, lambda: told(newcomer, "restored"), "the newcomer says it")
    until(RECOVER_S, lambda: scene.keys("/cms/nodes/").keys() == {"/cms/nodes/g"}, "all gone but it")
    expect_no_decision(scene, held)
    scene.cluster.network.heal(hosts, scene.etcd.hosts)

    for node in nodes:
        until(RECOVER_S, lambda node=node: told(node, "behind", "restored"), f"{node.name} says it")
    since = decide(scene, c, "publish", held["epoch"], number)
    scene.recover("restored while only a newcomer was there, from store publish on", since)


def test_wiped_while_a_newcomer_has_a_seed(scene):
    nodes = list(scene.nodes)
    number = scene.change_reaches(nodes[0], nodes)
    epoch = scene.current()["epoch"]
    lose(scene, scene.etcd.wipe)
    newcomer = scene.add_node("f", "contest-web")
    for node in nodes:
        until(RECOVER_S, lambda node=node: told(node, "wiped"), f"{node.name} says it")
    until(RECOVER_S, lambda: told(newcomer, "not seeded"), "the newcomer says it")
    expect_no_decision(scene, None)

    since = decide(scene, nodes[2], "publish", epoch, number)
    scene.recover("data directories wiped, from store publish on", since)
