# SPDX-License-Identifier: MIT
"""
Containers without --net=host: on each host the first gets 172.17.0.2, as Docker
numbers them everywhere. etcd is reached through a relay on docker0.
"""

import json
import os
import time

import pytest

from process import Process
from waiting import stays, until

PREFIX = "/bridged"
ADDRESS, GATEWAY = "172.17.0.2", "172.17.0.1"
PORT = 2379
# 25 s of proof that the other one lives, and the way there.
REFUSED_S = 40


@pytest.fixture
def relays(site):
    made = []
    try:
        for engine in site.engines.values():
            host = engine.host
            made.append(Process(
                host.command("socat", f"TCP-LISTEN:{PORT},bind={GATEWAY},fork,reuseaddr",
                             f"TCP:{site.etcd.addresses[0]}:{PORT}"),
                os.path.join(host.directory, "socat.log")))
            until(10, lambda host=host: answers(host), f"the relay on {host.name}")
        yield
    finally:
        site.forget(*site.nodes)
        for relay in made:
            relay.kill()


def answers(host):
    try:
        host.connect(GATEWAY, PORT).close()
        return True
    except OSError:
        return False


def address_of(container):
    return container.inspect()["NetworkSettings"]["IPAddress"]


def test_the_second_with_the_same_address_is_refused(site, relays):
    def bridged(host, **settings):
        return site.run(host, f"{host}-bridged", bridged=True, prefix=PREFIX,
                        etcd=f"http://{GATEWAY}:{PORT}", **settings)
    first = bridged("a", role="core", seed_config=site.configuration())
    first.wait_until(60, lambda status: status["node"]["state"] == "active", "active")
    assert address_of(first) == ADDRESS == first.status()["node"]["address"]
    identity, pids = first.id(), first.pids()

    second = bridged("b", role="worker:2")
    until(10, lambda: address_of(second) == ADDRESS, "the same address on the other host")
    began = time.monotonic()
    assert second.process.wait(REFUSED_S) == 4
    print(f"refused after {time.monotonic() - began:.1f} s")
    for words in (ADDRESS, identity, "--net=host"):
        assert words in second.log(), f"'{words}' is not in the message"
    said = [line.split(" ", 1)[1] for line in second.log().splitlines()]
    assert max(said.count(line) for line in said) <= 2, "the same again and again while it waits"
    nodes = site.etcd.keys(f"{PREFIX}/nodes/")
    assert [json.loads(text)["id"] for text in nodes.values()] == [identity]
    assert list(site.etcd.keys(f"{PREFIX}/addresses/")) == \
        [f"{PREFIX}/addresses/{ADDRESS}/{identity}"]
    stays(3, lambda: first.process.is_running() and first.pids() == pids, "the first goes on")
