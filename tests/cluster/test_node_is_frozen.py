# SPDX-License-Identifier: MIT
"""
A daemon that is stopped and goes on later, as on a machine that was suspended
or a virtual one that was moved. Its services run all the time. See
fault_scene.py for what has to hold afterwards.
"""

import json
import signal

import pytest

from fault_scene import RECOVER_S, clock
from waiting import stays, until

pytestmark = pytest.mark.slow
FROZEN_S = 60
LEASE_S = 40                # 10 s, more when a leader changes
WINDOW_S = 10               # the least that may be agreed


@pytest.fixture
def frozen(scene):
    """C's daemon, until the test lets it go on; its lease has ended."""
    c = scene.nodes[2]

    def freeze():
        c.process.signal(signal.SIGSTOP)
        until(LEASE_S, lambda: "/cms/nodes/c" not in scene.keys("/cms/nodes/"), "the lease's end")
        return c
    yield freeze
    c.process.signal(signal.SIGCONT)


def node_state(scene, name):
    current = scene.current()["generation"]
    nodes = scene.keys(f"/cms/{current}/topology/nodes")[f"/cms/{current}/topology/nodes"]
    return json.loads(nodes)[name]["state"]


def slots_of(scene, name):
    current = scene.current()["generation"]
    slots = scene.keys(f"/cms/{current}/topology/slots")[f"/cms/{current}/topology/slots"]
    return [(service, shard) for service, entries in json.loads(slots).items()
            for shard, slot in enumerate(entries) if slot.get("node") == name]


def lease_of(scene, key):
    return scene.etcd.range(key)["kvs"][0]["lease"]


def test_for_one_minute(scene, frozen):
    a, b, _ = scene.nodes
    since = clock()
    c = frozen()
    until(RECOVER_S, lambda: node_state(scene, "c") == "away", "C counted as away")
    slots = slots_of(scene, "c")
    scene.change_reaches(a, [a, b])
    units = [pid for (node, unit), (pid, _) in scene.units.items() if node == "c"]
    stays(FROZEN_S - (clock() - since), lambda: all(map(c.host.has_process, units)),
          "the units of the frozen daemon")
    assert slots_of(scene, "c") == slots
    c.process.signal(signal.SIGCONT)
    scene.recover("a node frozen for a minute, thawed", clock())
    assert slots_of(scene, "c") == slots and node_state(scene, "c") == "present"


def test_for_longer_than_the_rejoin_window(scene, frozen):
    """Its Workers are no longer its own: they alone, and who dials them, may restart."""
    a, b, c = scene.nodes
    reservation = lease_of(scene, "/cms/reserved/c")
    a.change(f"topology.rejoin_window_s={WINDOW_S}")
    until(RECOVER_S, lambda: lease_of(scene, "/cms/reserved/c") != reservation, "C's new window")
    lost = [("c", f"{service},{shard}") for service, shard in slots_of(scene, "c")
            if service == "Worker"]
    assert len(lost) == 2
    frozen()
    until(RECOVER_S, lambda: not slots_of(scene, "c"), "C's slots free")
    scene.change_reaches(a, [a, b])
    c.process.signal(signal.SIGCONT)
    scene.recover("a node frozen for longer than the rejoin window, thawed", clock(),
                  besides=[*lost, ("a", "EvaluationService,0")])
    assert scene.everybody_has_work()
