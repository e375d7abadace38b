# SPDX-License-Identifier: MIT
"""
What a node costs etcd, counted at a proxy between them: HTTP requests to join,
HTTP requests while nothing happens, connections. Leases live 10 s.
"""

import os
import time

import pytest

from network import ip
from proxy import Proxy, Requests
from waiting import stays, until

PROXY_PORT = 12379
JOIN_MAX = 12
IDLE_MAX_A_MINUTE = 24
CONNECTIONS = 2             # the watch, and one for requests
MEMBERS = "/v3/cluster/member/list"
QUIET_S = 4                 # longer than a join waits for others
KEEPALIVE = "/v3/lease/keepalive"


@pytest.fixture
def proxied(cluster):
    """A function: (proxy, node), the node reaches etcd through the proxy only."""
    host = cluster.host("a")
    cluster.start_etcd(host, loopback=True)
    # An address that only becomes one now would be registered in a second transaction.
    until(20, lambda: "tentative" not in ip("-n", host.namespace, "addr"), "all addresses in use")
    proxy = Proxy(host, PROXY_PORT, 2379)
    proxy.start()

    def start(**settings):
        return proxy, cluster.node(host, "proxied", **{
            "role": None, "etcd": proxy.url,
            "state_dir": os.path.join(host.directory, "proxied-state"),
            "run_dir": os.path.join(host.directory, "proxied-run"), **settings})
    yield start
    proxy.stop()


def joined(node):
    return node.wait_until(40, lambda status: status["node"]["state"] == "active" and
                           status["config"]["applied"], "joined")


def settled(proxy):
    """Its registration was considered, its status written: only the lease is renewed."""
    def quiet():
        return set(proxy.count(time.monotonic() - QUIET_S)) <= {KEEPALIVE}
    until(30, quiet, "no more requests of the join")


def wait_for_keepalive(proxy):
    """When the next one begins: from there on all is counted."""
    since = time.monotonic()
    until(10, lambda: proxy.count(since).get(KEEPALIVE), "a renewal of the lease")
    return min(at for at, path in list(proxy.requests) if path == KEEPALIVE and at >= since)


def idle(proxy, node, seconds):
    start = wait_for_keepalive(proxy)
    stays(start + seconds - time.monotonic(),
          lambda: proxy.open <= CONNECTIONS and node.process.is_running(), "two connections")
    counted = proxy.count(start + 0.001, start + seconds)
    proxy.check()
    assert counted[KEEPALIVE] >= int(seconds / 4), f"the lease is renewed: {counted}"
    # Once in five minutes, so it may fall into any window, but into no minute twice.
    assert counted.pop(MEMBERS, 0) <= 1
    # What comes once a minute may come in any part of it.
    most = IDLE_MAX_A_MINUTE if seconds >= 60 else IDLE_MAX_A_MINUTE * seconds / 60 + 2
    assert counted.total() <= most, counted


def test_requests_are_cut_as_http_says():
    """The counter itself, at every border."""
    stream = (b"POST /v3/kv/txn HTTP/1.1\r\nContent-Length: 18\r\n\r\nGET /x HTTP/1.1\r\n\r"
              b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n"
              b"POST /v3/watch HTTP/1.1\r\ncontent-length: 2\r\n\r\n{}")
    for cut in range(len(stream)):
        seen = []
        requests = Requests(lambda method, path: seen.append(f"{method} {path}"))
        requests.feed(stream[:cut])
        requests.feed(stream[cut:])
        assert seen == ["POST /v3/kv/txn", "GET /version", "POST /v3/watch"], f"cut at {cut}"


@pytest.mark.parametrize("first", [True, False])
def test_a_join_and_idle_seconds_stay_within_the_budget(cluster, proxied, first):
    """The first node seeds the cluster, and folds for the others; the second does neither."""
    if not first:
        other = cluster.node(cluster.network.hosts[0], "first", role=None)
        joined(other)
        # A join that follows another at once waits for it, and looks again.
        other.wait_until(20, lambda status: status["node"]["uptime_s"] > 8, "there for long")
    proxy, node = proxied()
    joined(node)
    settled(proxy)
    counted = proxy.count()
    assert counted.total() - counted[KEEPALIVE] <= JOIN_MAX, counted
    assert counted["/v3/watch"] >= 1, counted
    idle(proxy, node, 20)
    assert proxy.open == CONNECTIONS
    assert node.status()["store"]["counters"]["requests"] == proxy.count().total()


@pytest.mark.slow
def test_an_idle_minute_stays_within_the_budget(proxied):
    proxy, node = proxied()
    joined(node)
    settled(proxy)
    idle(proxy, node, 60)
    assert proxy.open == CONNECTIONS


def test_services_that_cannot_start_do_not_press_etcd(proxied, tmp_path):
    """What a node runs is told on change; where that never ends, not each change."""
    proxy, node = proxied(role="core", cms_bin=tmp_path)
    node.wait_until(40, lambda status: status["config"]["applied"], "joined")
    until(30, lambda: any(service["restarts"] or service["state"] == "backoff"
                          for service in node.status()["services"]), "services that fail")
    stays(10, node.process.is_running, "the first changes are all told")
    start = wait_for_keepalive(proxy)
    stays(20, node.process.is_running, "failing services")
    counted = proxy.count(start, start + 20)
    counted.pop(MEMBERS, 0)
    assert counted.total() <= IDLE_MAX_A_MINUTE, counted


@pytest.mark.parametrize("ahead_s", [0, 5, -5])
def test_a_clock_that_differs_from_etcds_is_told(cluster, ahead_s):
    host = cluster.host("a")
    cluster.start_etcd(host, loopback=True)
    # An address that only becomes one now would be registered in a second transaction.
    until(20, lambda: "tentative" not in ip("-n", host.namespace, "addr"), "all addresses in use")
    proxy = Proxy(host, PROXY_PORT, 2379, clock_ahead_s=ahead_s)
    proxy.start()
    node = cluster.node(host, "a", role="core", etcd=proxy.url)
    joined(node)
    if ahead_s:
        status = node.wait_until(30, lambda status: status["node"]["note"], "a note")
        assert ("behind" if ahead_s > 0 else "ahead of") in status["node"]["note"]
        assert "NTP" in status["node"]["note"]
        assert 2 < -status["store"]["clock_ahead_s"] * (1 if ahead_s > 0 else -1) <= 5.1
    else:
        stays(5, lambda: node.status()["node"]["note"] is None, "nothing to say")
    proxy.stop()
