# SPDX-License-Identifier: MIT
"""Who a node is: the id that stays, the clone that is caught, EC2, machine-id, containers."""

import json
import os
import shutil
import time
import uuid

from imds import Imds
from network import write
from node import Node, find_program
from process import clean_environment
from waiting import until

INSTANCE = "i-0a1b2c3d4e5f60718"
MACHINE_ID = "0123456789abcdef0123456789abcdef"
# printf %s MACHINE_ID | openssl dgst -sha256 -hmac 'cmsnoded node id, version 1'
MACHINE_NODE = "m-c9ade8ee6d57581c"
CONVERSATION = [["PUT", "/latest/api/token", 200], ["GET", "/latest/meta-data/instance-id", 200]]


def facts(host, **texts):
    """dmi_NAME=text, machine_id=text, dockerenv=text, mountinfo=text, below the facts root."""
    paths = {"machine_id": "etc/machine-id", "dockerenv": ".dockerenv",
             "mountinfo": "proc/self/mountinfo"}
    for name, text in texts.items():
        path = paths.get(name) or f"sys/class/dmi/id/{name.removeprefix('dmi_')}"
        write(os.path.join(host.facts_root, path), text and text + "\n")


def check(cluster, host):
    """(identity, seconds): what `cmsnoded --check` says of it; nothing is started or kept."""
    node = Node(host, host.name, node_id=None, standalone=cluster.configuration())
    with open(node.settings["config"], "a", encoding="utf-8"):
        pass
    command = node.command()[len(host.command()):]
    assert command[0] == find_program("cmsnoded")
    before = time.monotonic()
    status, output = host.run(*command, "--check", "--log-format=json", "--log-level=error",
                              env=clean_environment())
    took = time.monotonic() - before
    assert status == 0, output
    return json.loads(output)["identity"], took


def start(cluster, host, **settings):
    """A node whose id is its own affair, in standalone mode unless there is an etcd."""
    more = {} if cluster.etcd else {"standalone": cluster.configuration()}
    return cluster.node(host, host.name, node_id=None, **more, **settings)


def identity(node):
    def look():
        node.expect_running()
        status, output = node.ctl("explain", "identity", "--json")
        assert status == 0, output
        told = json.loads(output)
        return told.get("identity", told)
    return until(20, look, f"the identity of {node.name}")


def state_file(host):
    with open(os.path.join(host.state_dir, "node-id"), encoding="utf-8") as file:
        return json.load(file)


def product_uuid(host):
    with open(f"{host.facts_root}/sys/class/dmi/id/product_uuid", encoding="utf-8") as file:
        return file.read().strip().lower()


def warnings(node, word):
    return [line for line in node.log().splitlines() if " warning identity: " in line
            and word in line]


# ---- the state file ------------------------------------------------------------


def test_an_id_is_kept_over_restart_and_bound_to_the_machine(cluster):
    host = cluster.host("a")
    node = start(cluster, host)
    first = identity(node)
    assert first["source"] == "random" and first["id"].startswith("n-")
    assert state_file(host)["product_uuid"] == product_uuid(host)
    assert node.stop() == 0
    again = start(cluster, host)
    second = identity(again)
    assert (second["id"], second["source"]) == (first["id"], "state-file")
    assert "product uuid as before" in second["reason"]
    assert not warnings(again, "cloned")
    assert again.stop() == 0


def test_a_file_of_version_0_1_is_bound_at_the_next_start(cluster):
    host = cluster.host("a")
    write(os.path.join(host.state_dir, "node-id"),
          '{"id":"n-00112233445566ff","source":"random","created_at":1700000000}\n')
    node = start(cluster, host)
    assert identity(node)["id"] == "n-00112233445566ff"
    kept = state_file(host)
    assert (kept["id"], kept["source"]) == ("n-00112233445566ff", "random")
    assert (kept["product_uuid"], kept["created_at"]) == (product_uuid(host), 1700000000)
    assert node.stop() == 0
    facts(host, dmi_product_uuid=str(uuid.uuid4()))
    assert check(cluster, host)[0]["id"] != "n-00112233445566ff", "bound now: a clone is seen"


def test_a_cloned_disk_joins_as_another_node_and_says_so(cluster):
    original, clone = cluster.host("a"), cluster.host("b")
    cluster.start_etcd(original)
    node = start(cluster, original, role="core,worker:1")
    kept = identity(node)
    until(30, lambda: f"/cms/nodes/{kept['id']}" in cluster.etcd.keys("/cms/nodes/"), "registered")
    os.makedirs(clone.state_dir, exist_ok=True)
    shutil.copy(os.path.join(original.state_dir, "node-id"), clone.state_dir)

    other = start(cluster, clone, role="worker:1")
    taken = identity(other)
    assert taken["id"] != kept["id"] and taken["source"] == "random"
    [line] = warnings(other, "the disk was cloned")
    for told in (product_uuid(original), product_uuid(clone), f"--node-id {kept['id']}"):
        assert told in line
    keys = {f"/cms/nodes/{id}" for id in (kept["id"], taken["id"])}
    until(30, lambda: cluster.etcd.keys("/cms/nodes/").keys() == keys, "both registered")

    # Its own file is good from now on.
    assert other.stop() == 0
    again = start(cluster, clone, role="worker:1")
    assert identity(again)["id"] == taken["id"]
    assert not warnings(again, "cloned")[1:], "told once, by the first of the two"


def test_a_uuid_that_cannot_be_read_proves_nothing(cluster):
    host = cluster.host("a")
    node = start(cluster, host)
    first = identity(node)["id"]
    assert node.stop() == 0
    readable = product_uuid(host)
    facts(host, dmi_product_uuid="")
    again = start(cluster, host)
    assert identity(again)["id"] == first
    assert again.stop() == 0
    assert state_file(host)["product_uuid"] == readable, "not forgotten meanwhile"


def test_a_damaged_file_is_refused_with_the_remedy(cluster):
    host = cluster.host("a")
    write(os.path.join(host.state_dir, "node-id"), '{"id":"n-00112233445566ff","macs":"x"}\n')
    node = start(cluster, host)
    assert node.process.wait(20) != 0
    assert "/node-id is damaged" in node.log() and "--node-id ID keeps the old one" in node.log()


# ---- EC2 -------------------------------------------------------------------------


def test_an_instance_with_its_id_in_dmi_asks_nobody(cluster):
    host = cluster.host("a")
    service = Imds(host, "i-00000000000000bad")
    facts(host, dmi_sys_vendor="Amazon EC2", dmi_board_asset_tag=INSTANCE, machine_id=MACHINE_ID)
    told, _took = check(cluster, host)
    assert (told["id"], told["source"]) == (INSTANCE, "ec2")
    assert service.requests() == []


def test_a_reset_gives_an_id_that_no_fact_leads_back_from(cluster):
    host = cluster.host("a")
    facts(host, dmi_sys_vendor="Amazon EC2", dmi_board_asset_tag=INSTANCE, machine_id=MACHINE_ID)
    node = start(cluster, host)
    assert identity(node)["id"] == INSTANCE
    assert node.ctl("node", "reset-identity")[0] == 0
    assert identity(node)["id"] == INSTANCE, "only the next start takes it"
    assert node.stop() == 0
    again = start(cluster, host)
    assert identity(again)["id"].startswith("n-")
    assert again.stop() == 0


def test_an_instance_asks_the_metadata_service_once(cluster):
    host = cluster.host("a")
    service = Imds(host, INSTANCE)
    facts(host, dmi_sys_vendor="Amazon EC2", dmi_board_asset_tag="")
    node = start(cluster, host)
    told = identity(node)
    assert (told["id"], told["source"]) == (INSTANCE, "ec2")
    assert service.requests() == CONVERSATION
    assert node.stop() == 0
    again = start(cluster, host)
    told = identity(again)
    assert (told["id"], told["source"]) == (INSTANCE, "state-file")
    assert service.requests() == CONVERSATION, "the state file was enough"
    assert again.stop() == 0


def test_a_copied_disk_on_another_instance_has_that_instance_s_id(cluster):
    host = cluster.host("a")
    write(os.path.join(host.state_dir, "node-id"), json.dumps(
        {"id": "i-00000000000000001", "source": "ec2", "product_uuid": str(uuid.uuid4())}))
    facts(host, dmi_sys_vendor="Amazon EC2", dmi_board_asset_tag=INSTANCE)
    node = start(cluster, host)
    assert identity(node)["id"] == INSTANCE
    assert warnings(node, "the disk was cloned")
    assert state_file(host)["id"] == INSTANCE
    assert node.stop() == 0


def test_other_machines_never_ask_that_address(cluster):
    host = cluster.host("a")
    service = Imds(host, INSTANCE)
    for vendor in ("QEMU", ""):
        facts(host, dmi_sys_vendor=vendor, dmi_board_asset_tag=INSTANCE)
        assert check(cluster, host)[0]["source"] == "random"
    assert service.requests() == []


def test_silence_of_the_metadata_service_costs_a_second(cluster):
    host = cluster.host("a")
    facts(host, dmi_sys_vendor="QEMU", machine_id=MACHINE_ID)
    _told, usual = check(cluster, host)
    facts(host, dmi_sys_vendor="Amazon EC2")
    # Packets that vanish (the gateway forwards nothing), then a service that never answers.
    for service in (None, Imds):
        asked = service and service(host, INSTANCE, silent=True)
        told, took = check(cluster, host)
        assert (told["id"], told["source"]) == (MACHINE_NODE, "machine-id")
        assert 0.9 <= took <= usual + 1.5
    assert asked.requests() == [["PUT", "/latest/api/token", 0]]


# ---- machine-id --------------------------------------------------------------------


def test_a_host_that_lost_its_state_is_the_same_by_its_machine_id(cluster):
    host = cluster.host("a")
    facts(host, machine_id=MACHINE_ID)
    for _ in range(2):
        node = start(cluster, host)
        told = identity(node)
        assert (told["id"], told["source"]) == (MACHINE_NODE, "machine-id")
        assert MACHINE_ID not in json.dumps(told) + node.log(), "it is confidential"
        assert node.stop() == 0
        shutil.rmtree(host.state_dir)


def test_a_clone_does_not_use_the_machine_id_that_was_cloned_with_it(cluster):
    host = cluster.host("a")
    facts(host, machine_id=MACHINE_ID)
    write(os.path.join(host.state_dir, "node-id"), json.dumps(
        {"id": MACHINE_NODE, "source": "machine-id", "product_uuid": str(uuid.uuid4())}))
    told, _took = check(cluster, host)
    assert told["source"] == "random" and "the disk was cloned" in told["reason"]


def test_a_container_uses_the_machine_id_only_if_it_is_the_host_s(cluster):
    host = cluster.host("a")
    root = "100 99 0:40 / / rw - overlay overlay rw"
    handed_in = "101 100 8:1 /etc/machine-id /etc/machine-id ro - ext4 /dev/sda1 rw"
    facts(host, machine_id=MACHINE_ID, dockerenv="", mountinfo=root)
    told, _took = check(cluster, host)
    assert told["source"] == "random" and "mount the host's /etc/machine-id" in told["reason"]
    facts(host, mountinfo=f"{root}\n{handed_in}")
    assert check(cluster, host)[0]["id"] == MACHINE_NODE
