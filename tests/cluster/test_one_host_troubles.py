# SPDX-License-Identifier: MIT
"""One host with its own etcd on loopback: what goes wrong at the start, and what comes back."""

import os
import re

import rpc
from node import DEMO, is_well
from waiting import stays, until

ROLES = "core,worker:2"


def one_host(cluster):
    host = cluster.host("a", docker0=True)
    cluster.start_etcd(host, loopback=True)
    return host


def test_a_missing_program_is_reported_and_the_others_run(cluster):
    host = one_host(cluster)
    programs = os.path.join(cluster.directory, "bin")
    os.mkdir(programs)
    for name in os.listdir(DEMO):
        if name.startswith("cms") and name not in ("cmsChecker", "cms.sample.toml"):
            os.symlink(os.path.join(DEMO, name), os.path.join(programs, name))
    node = cluster.node(host, "a", role=ROLES, cms_bin=programs)

    def others_run(status):
        others = [entry for entry in status["services"] if entry["service"] != "Checker"]
        return len(others) >= 7 and all(entry["healthy"] for entry in others)
    node.wait_until(40, others_run, "all but Checker healthy")
    checker = node.services()["Checker,0"]
    assert not checker["healthy"] and checker["pid"] in (0, None)
    assert f"{programs}/cmsChecker" in f"{checker['last_exit']} {checker.get('note')}"


def test_a_broken_seed_is_refused_with_file_and_line(cluster):
    host = one_host(cluster)
    seed = cluster.configuration("broken.toml", lambda text: text.replace(
        "keep_sandbox = false", "keep_sandbox = false false"))
    with open(seed, encoding="utf-8") as file:
        line = 1 + [i for i, text in enumerate(file) if "false false" in text][0]
    node = cluster.node(host, "a", role=ROLES, seed_config=seed)
    assert node.process.wait(20) == 3
    assert "broken.toml" in node.log()
    assert re.search(rf"line {line}\b|:{line}\b", node.log())
    assert cluster.etcd.keys("/cms/") == {}


def test_a_seed_that_cms_would_refuse_is_refused(cluster):
    host = one_host(cluster)
    seed = cluster.configuration("incomplete.toml",
                                 lambda text: re.sub(r"(?m)^url = .*$", "", text))
    node = cluster.node(host, "a", role=ROLES, seed_config=seed)
    assert node.process.wait(20) == 3
    assert "incomplete.toml" in node.log() and "database.url" in node.log()


def test_a_node_waits_for_etcd_and_joins_when_it_comes(cluster):
    host = cluster.host("a")
    node = cluster.node(host, "a", role=ROLES, etcd="http://127.0.0.1:2379")

    def complaints():
        return [line for line in node.log().splitlines()
                if re.search(r" (warning|error) ", line) and "127.0.0.1:2379" in line]
    until(10, complaints, "a line about etcd")
    node.wait_until(10, lambda status: not status["store"]["connected"], "etcd seen as absent")
    stays(4, lambda: node.process.is_running() and len(complaints()) == 1, "one line, still trying")
    cluster.start_etcd(host, loopback=True)
    node.wait_until(60, is_well, "joined")
    assert "/cms/nodes/a" in cluster.etcd.keys("/cms/nodes/")


def test_a_daemon_that_was_killed_takes_its_registration_over_at_once(cluster):
    host = one_host(cluster)
    node = cluster.node(host, "a", role=ROLES)
    node.wait_until(40, is_well, "well")
    before = node.services()
    registration = cluster.etcd.keys("/cms/nodes/")["/cms/nodes/a"]
    etcd_pids = {member.pid for member in cluster.etcd.members}

    # As when a container is killed: daemon and services end together, nothing is revoked.
    node.process.kill()
    for pid in set(host.pids()) - etcd_pids:
        os.kill(pid, 9)
    until(5, lambda: set(host.pids()) == etcd_pids, "the end of daemon and services")
    assert cluster.etcd.keys("/cms/nodes/")["/cms/nodes/a"] == registration

    node.start()
    until(5, lambda: cluster.etcd.keys("/cms/nodes/").get("/cms/nodes/a") != registration,
          "its own registration, well before the old lease (10 s) ends")
    node.wait_until(20, is_well, "well again")
    assert node.services().keys() == before.keys()
    assert {name: entry["address"] for name, entry in node.services().items()} == \
        {name: entry["address"] for name, entry in before.items()}
    for name, entry in node.services().items():
        assert rpc.call(host, entry["address"], "echo", string=name) == name
