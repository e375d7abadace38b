# SPDX-License-Identifier: MIT
"""
A change that concerns ContestWebServers, four of them on two hosts: contestants
always find some, since they restart one at a time over the whole cluster.
"""

import threading
import time

import pytest

import rpc
from test_three_hosts_join_and_run import all_pids, changed, expect_restarts
from waiting import until

JOIN_S = 60
WEB = {("b", "ContestWebServer,0"), ("b", "ContestWebServer,1"),
       ("c", "ContestWebServer,2"), ("c", "ContestWebServer,3")}


@pytest.fixture(scope="module")
def three(module_cluster):
    cluster = module_cluster
    cluster.start_etcd(cluster.host("store"))
    for name, role in (("a", "core"), ("b", "contest-web:2"), ("c", "contest-web:2")):
        cluster.node(cluster.host(name), name, role=role)
        until(JOIN_S, lambda n=name: any(key[0] == n for key in all_pids(cluster)), name)
    until(JOIN_S, lambda: {key for key in all_pids(cluster) if "Contest" in key[1]} == WEB, "web")
    cluster.wait_until_well(JOIN_S)
    return cluster


class Client:
    """Asks each ContestWebServer for an echo, again and again, and notes how many did not answer."""

    def __init__(self, cluster):
        self.host = cluster.nodes[0].host
        self.addresses = [entry["address"] for node in cluster.nodes[1:]
                          for name, entry in node.services().items() if "Contest" in name]
        self.most_down, self.rounds, self.is_over = 0, 0, False
        self.thread = threading.Thread(target=self.run)

    def is_down(self, address):
        try:
            return rpc.call(self.host, address, "echo", string="x") != "x"
        except (AssertionError, OSError):
            return True

    def run(self):
        while not self.is_over:
            down = sum(self.is_down(address) for address in self.addresses)
            self.most_down = max(self.most_down, down)
            self.rounds += 1
            time.sleep(0.02)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.is_over = True
        self.thread.join()


def restart_times(cluster):
    """When each ContestWebServer's present process began to run."""
    return sorted(entry["since"] for node in cluster.nodes[1:]
                  for name, entry in node.services().items() if "Contest" in name)


def test_one_at_a_time(three):
    before = all_pids(three)
    with Client(three) as client:
        assert three.nodes[0].ctl("config", "set", "--yes",
                                  "contest_web_server.cookie_duration=10801")[0] == 0
        until(60, lambda: changed(before, all_pids(three)) == WEB, "all four restarted")
        three.wait_until_well(30)
    assert client.rounds > 10 and client.most_down <= 1, \
        f"{client.most_down} down at once in {client.rounds} rounds"
    expect_restarts(three, before, WEB)
    until(10, lambda: not three.etcd.keys("/cms/locks/"), "the queue is empty")


def test_a_node_that_dies_in_its_turn_keeps_nobody_waiting(three):
    before = all_pids(three)
    b, c = three.nodes[1:]
    three.etcd.etcdctl("put", "/cms/locks/contest-web/zombie", "x")
    assert three.nodes[0].ctl("config", "set", "--yes",
                              "contest_web_server.cookie_duration=10802")[0] == 0
    until(10, lambda: len(three.etcd.keys("/cms/locks/")) == 3, "both wait behind it")
    assert not changed(before, all_pids(three)) & WEB
    three.etcd.etcdctl("del", "/cms/locks/contest-web/zombie")      # as its lease would
    until(60, lambda: changed(before, all_pids(three)) == WEB, "all four restarted")
    three.wait_until_well(30, b, c)


def test_at_once_if_somebody_says_so(three):
    before = all_pids(three)
    three.etcd.etcdctl("put", "/cms/locks/contest-web/zombie", "x")
    status, output = three.nodes[0].ctl("config", "set", "--yes", "--at-once", "--wait",
                                        "contest_web_server.cookie_duration=10803")
    assert status == 0, output
    expect_restarts(three, before, WEB)
    three.etcd.etcdctl("del", "/cms/locks/contest-web/zombie")


def test_more_at_a_time_is_a_policy(three):
    assert three.nodes[0].ctl("config", "set", "--yes", "topology.restart_at_once=2")[0] == 0
    before = all_pids(three)
    three.etcd.etcdctl("put", "/cms/locks/contest-web/zombie", "x")
    assert three.nodes[0].ctl("config", "set", "--yes",
                              "contest_web_server.cookie_duration=10804")[0] == 0
    until(60, lambda: changed(before, all_pids(three)) == WEB, "all four, beside the zombie")
    three.etcd.etcdctl("del", "/cms/locks/contest-web/zombie")
