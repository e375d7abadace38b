# SPDX-License-Identifier: MIT
"""
Three real etcd members, and one or more of them die, hang or are cut off. See
fault_scene.py for what has to hold afterwards.
"""

import signal
import threading

import pytest

from etcd import CLIENT_PORT
from fault_scene import RECOVER_S, clock
from waiting import until

KEYS = {"a": "topology.settle_s", "b": "topology.settle_max_s"}
NOTICE_S = 40


class Writer(threading.Thread):
    """Changes a number again and again on one node, and notes what it is told."""

    def __init__(self, node):
        super().__init__()
        self.node, self.key = node, KEYS[node.name]
        self.ended = threading.Event()
        self.acknowledged = []
        self.attempted = 100
        self.error = None

    def expect_more_than(self, count):
        assert len(self.acknowledged) > count, f"{len(self.acknowledged)} agreed; {self.error}"

    def run(self):
        while not self.ended.is_set():
            self.attempted += 1
            try:
                self.node.change(f"{self.key}={self.attempted}")
                self.acknowledged.append(self.attempted)
            except AssertionError as error:
                self.error = error

    def expect_kept(self):
        """The last acknowledged one, or a later one whose outcome was not known."""
        value = int(self.node.ctl("config", "get", self.key)[1])
        assert self.acknowledged[-1] <= value <= self.attempted


def wait_for_changes(writers, count):
    """Each is told of so many more."""
    before = [len(writer.acknowledged) for writer in writers]

    def look():
        for writer, known in zip(writers, before):
            writer.expect_more_than(known + count - 1)
        return True
    until(RECOVER_S, look, "changes agreed")


def test_kill_9_of_the_leader_during_swaps(scene):
    a, b, _ = scene.nodes
    writers = [Writer(a), Writer(b)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(3):
            wait_for_changes(writers, 2)
            leader = scene.etcd.leader()
            scene.etcd.kill(leader)
            killed = clock()
            wait_for_changes(writers, 1)
            scene.etcd.start(leader)
    finally:
        for writer in writers:
            writer.ended.set()
            writer.join()
    for writer in writers:
        writer.expect_kept()
    scene.recover("kill -9 of the leader during swaps (the last of 3)", killed)


@pytest.mark.slow
@pytest.mark.parametrize("which", ["the leader", "the one that C watches"])
def test_a_hung_member(scene, which):
    """It takes connections and answers nothing: TCP is content with it."""
    if which == "the leader":
        victim = scene.etcd.leader()
    else:
        victim = scene.etcd.number_of(scene.nodes[2].status()["store"]["endpoint"])
    scene.member = (victim + 1) % 3
    scene.etcd.pause(victim)
    hung = clock()
    try:
        scene.change_reaches(scene.nodes[0], scene.nodes)
        scene.recover(f"SIGSTOP of {which}, while it hangs", hung)
        scene.is_sound = False
    finally:
        scene.etcd.resume(victim)
    scene.recover(f"SIGCONT of {which}", clock())


@pytest.mark.slow
def test_the_leader_is_cut_off_from_its_peers(scene):
    """Clients reach it, and a watch on it would look healthy for ever."""
    hosts = scene.etcd.hosts
    leader = scene.etcd.leader()
    others = [host for i, host in enumerate(hosts) if i != leader]
    scene.member = (leader + 1) % 3
    scene.cluster.network.cut([hosts[leader]], others)
    cut = clock()
    scene.recover("partition of the leader, while it lasts", cut)
    scene.is_sound = False
    scene.cluster.network.heal([hosts[leader]], others)
    scene.recover("partition of the leader, healed", clock())


@pytest.mark.slow
def test_a_minority_with_a_node_of_ours_on_it(scene):
    a, b, c = scene.nodes
    hosts = scene.etcd.hosts
    lonely = (scene.etcd.leader() + 1) % 3
    majority = [host for i, host in enumerate(hosts) if i != lonely]
    scene.member = (lonely + 1) % 3
    scene.cluster.network.cut([hosts[lonely], c.host], majority)
    c.wait_until(NOTICE_S, lambda status: not status["store"]["connected"], "etcd seen as away")
    until(NOTICE_S, lambda: "/cms/nodes/c" not in scene.keys("/cms/nodes/"),
          "the end of C's lease")
    scene.change_reaches(a, [a, b])
    scene.expect_same_units()
    scene.cluster.network.heal([hosts[lonely], c.host], majority)
    scene.recover("partition of a minority with a node on it, healed", clock())


@pytest.mark.slow
def test_quorum_is_lost_and_comes_back(scene):
    lost = [0, 1]
    scene.etcd.kill(*lost)
    for node in scene.nodes:
        node.wait_until(NOTICE_S, lambda status: not status["store"]["connected"], "etcd away")
    status, output = scene.nodes[1].ctl("config", "set", "--yes", "topology.settle_s=99")
    assert status != 0, output
    scene.expect_same_units()
    scene.etcd.start(*lost)
    scene.recover("quorum lost and back", clock())


@pytest.mark.slow
def test_history_is_compacted_while_a_node_is_cut_off(scene):
    c = scene.nodes[2]
    scene.cluster.network.cut([c.host], scene.etcd.hosts)
    until(NOTICE_S, lambda: c.host.established(CLIENT_PORT) == 0, "the end of C's connections")
    compact(scene)
    scene.expect_same_units()
    scene.cluster.network.heal([c.host], scene.etcd.hosts)
    scene.recover("compaction while a node was cut off, healed", clock())


@pytest.mark.slow
def test_history_is_compacted_under_a_disconnected_watch(scene):
    """
    C sleeps meanwhile, and its watch wants to go on from where it was. Either it is told that
    this is gone, or it has read everything again before: both will do.
    """
    c = scene.nodes[2]
    streams = streams_of(c)
    c.process.signal(signal.SIGSTOP)
    try:
        scene.etcd.kill()
        scene.etcd.start()
        compact(scene)
    finally:
        c.process.signal(signal.SIGCONT)
    woken = clock()
    until(NOTICE_S, lambda: streams_of(c) > streams, "C's watch opened anew")
    scene.recover("compaction under a disconnected watch", woken)


def compact(scene):
    """C misses changes, and etcd forgets that they were made."""
    a, b, _ = scene.nodes
    scene.change_reaches(a, [a, b])
    scene.change_reaches(b, [a, b])
    scene.etcd.compact()


def streams_of(node):
    return node.status()["store"]["counters"]["watches"]
