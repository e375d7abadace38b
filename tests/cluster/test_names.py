# SPDX-License-Identifier: MIT
"""
Stable names: CMS is given names of slots, kept in the hosts file of each host, so a
machine that joins restarts nothing that contestants or judging depend on.
"""

import os

import pytest

import rpc
from network import ETC
from test_address import move
from test_three_hosts_join_and_run import all_pids, changed, workers_connected, workers_of
from waiting import stays, until

JOIN_S = 60
ZONE = "cms.internal"


def hosts_text(host):
    with open(f"{ETC}/{host.namespace}/hosts", encoding="utf-8") as file:
        return file.read()


def names_of(host):
    """{name: address} of the zone, as a resolver reads it: the first line counts."""
    names = {}
    for line in hosts_text(host).splitlines():
        words = line.partition("#")[0].split()
        for name in words[1:]:
            if name.endswith("." + ZONE):
                names.setdefault(name, words[0])
    return names


@pytest.fixture(scope="module")
def two(module_cluster):
    cluster = module_cluster
    cluster.start_etcd(cluster.host("store"))
    for name, role in (("a", "core"), ("b", "worker:2")):
        cluster.node(cluster.host(name), name, role=role, names="on")
    a, b = cluster.nodes
    until(JOIN_S, lambda: len(workers_of(b)) == 2, "two Workers")
    cluster.wait_until_well(JOIN_S)
    until(JOIN_S, lambda: workers_connected(a) == 2, "EvaluationService connected to both")
    return cluster


def test_cms_reads_names_and_every_one_resolves_everywhere(two):
    a, b = two.nodes
    text = a.ctl("config", "export")[1]
    assert "10.77." in text, "an export has addresses, which an import understands"
    for node in two.nodes:
        names = names_of(node.host)
        assert names[f"evaluationservice.{ZONE}"] == a.host.address
        assert names[f"worker-0.{ZONE}"] == names[f"worker-1.{ZONE}"] == b.host.address
        assert names[f"worker-15.{ZONE}"] == "127.255.255.254", "listed before it is there"
        generation = node.status()["config"]["applied"].split("/")[1]
        folder = os.path.join(node.settings["state-dir"], "generations", generation)
        with open(os.path.join(folder, "cms.toml"), encoding="utf-8") as file:
            config = file.read()
        assert f'"worker-0.{ZONE}"' in config and b.host.address not in config
        for name in names:
            status, output = node.host.run("getent", "ahostsv4", name)
            assert status == 0 and output.startswith(names[name])


def test_a_machine_that_joins_restarts_nothing_that_matters(two):
    a, b = two.nodes[:2]
    before = all_pids(two)
    c = two.node(two.host("c"), "c", role="worker:2", names="on")
    until(JOIN_S, lambda: len(workers_of(c)) == 2, "two Workers on C")
    until(JOIN_S, lambda: workers_connected(a) == 4, "EvaluationService connected to four")
    two.wait_until_well(JOIN_S)
    stays(10, lambda: changed(before, {key: pid for key, pid in all_pids(two).items()
                                       if key in before}) <=
          {("a", "AdminWebServer,0"), ("a", "Checker,0")},
          "only AdminWebServer and Checker may restart")
    assert names_of(b.host)[f"worker-2.{ZONE}"] == c.host.address


def test_an_address_that_changes_moves_the_name(two):
    a, _, c = two.nodes
    before = all_pids(two)
    new = c.host.address.rsplit(".", 1)[0] + ".99"
    move(c.host, new)
    until(JOIN_S, lambda: names_of(a.host)[f"worker-2.{ZONE}"] == new, "the name moved")
    until(JOIN_S, lambda: workers_connected(a) == 4, "EvaluationService connected again")
    c.host.address = new
    two.wait_until_well(JOIN_S)
    after = all_pids(two)
    assert {key for key in before if key[0] != "c" and before[key] != after[key]} <= \
        {("a", "AdminWebServer,0"), ("a", "Checker,0")}


def test_what_an_editor_takes_out_is_put_back(two):
    b = two.nodes[1]
    path = f"{ETC}/{b.host.namespace}/hosts"
    text = b"127.0.0.1 localhost # mine\n"
    with open(path, "rb+", buffering=0) as file:
        file.write(text)
        file.truncate(len(text))
    until(10, lambda: names_of(b.host).get(f"logservice.{ZONE}") == two.nodes[0].host.address,
          "the names are there again")
    assert "127.0.0.1 localhost # mine\n" in hosts_text(b.host)
    until(10, lambda: "had been taken out of the hosts file" in b.log(), "told in the log")
    for name, entry in b.services().items():
        assert rpc.call(b.host, entry["address"], "echo", string=name) == name
