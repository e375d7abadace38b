# SPDX-License-Identifier: MIT
"""
etcd answers, and says no: its space is used up, or it does not know the
password any more. See fault_scene.py for what has to hold afterwards.
"""

import os

import pytest

from fault_scene import RECOVER_S, clock
from waiting import stays, until

pytestmark = pytest.mark.slow
USER = "cms"


def says(node, word):
    text = node.ctl("status")[1]
    assert word in text, text
    return True


def test_its_space_is_used_up(new_scene):
    scene = new_scene(f"--quota-backend-bytes={4 << 20}")
    scene.etcd.fill("/much/")
    status, output = scene.nodes[0].ctl("config", "set", "--yes", "topology.settle_s=77")
    assert status != 0 and "space" in output, output
    until(RECOVER_S, lambda: says(scene.nodes[0], "space"), "its status says it")
    stays(12, lambda: says(scene.nodes[0], "space"), "it says so until there is space again")
    scene.expect_same_units()
    # Who is there stays: leases are renewed all the same.
    assert len(scene.keys("/cms/nodes/")) == len(scene.nodes)
    scene.etcd.make_space("/much/")
    scene.recover("space used up; compacted, defragmented, disarmed", clock())


def write_password(path, password):
    with open(f"{path}.new", "w", encoding="utf-8", opener=lambda name, flags:
              os.open(name, flags, 0o600)) as file:
        file.write(password + "\n")
    os.rename(f"{path}.new", path)


def test_the_password_is_changed(new_scene, tmp_path):
    path = tmp_path / "password"
    write_password(path, "first-secret")
    scene = new_scene(before_nodes=lambda etcd: etcd.give_users(USER, "first-secret", "/cms"),
                      etcd_user=USER, etcd_password_file=path)
    scene.etcd.set_password(USER, "second-secret")
    assert scene.nodes[0].ctl("config", "set", "--yes", "topology.settle_s=77")[0] != 0
    until(RECOVER_S, lambda: says(scene.nodes[0], "does not let user"), "its status says it")
    scene.expect_same_units()
    write_password(path, "second-secret")
    scene.recover("password changed in etcd, then in the nodes' file", clock())
    assert not any(word in node.log() for node in scene.nodes for word in ("first-secret", "second-secret"))
