# SPDX-License-Identifier: MIT
"""One host without etcd: what FILE lists for this machine runs."""

import os
import pwd
import shutil
import stat
import subprocess
import tomllib

import rpc
from node import DEMO, is_well
from waiting import until

LISTED = {"LogService,0", "ScoringService,0", "Checker,0", "EvaluationService,0", "Worker,0",
          "Worker,1", "ContestWebServer,0", "AdminWebServer,0", "ProxyService,0"}


def write(path, text):
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def test_all_that_the_file_lists_runs_and_term_ends_it(cluster):
    host = cluster.host("alone")
    file = cluster.configuration()
    with open(file, encoding="utf-8") as text:
        before = text.read()
    node = cluster.node(host, "alone", standalone=file)
    status = node.wait_until(40, is_well, "well")
    assert status["store"]["kind"] == "standalone"
    services = node.services()
    assert services.keys() == LISTED
    for name, entry in services.items():
        port = entry["address"].rsplit(":", 1)[1]
        assert rpc.call(host, f"127.0.0.1:{port}", "echo", string=name) == name
    evaluation = services["EvaluationService,0"]["address"].rsplit(":", 1)[1]
    until(10, lambda: all(worker["connected"] for worker in
                          rpc.call(host, f"127.0.0.1:{evaluation}", "workers_status").values()),
          "both Workers connected")
    for port in (8888, 8889):
        with host.connect("127.0.0.1", port) as sock:
            sock.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert sock.recv(64).startswith(b"HTTP/1.0 200")
    assert node.stop() == 0
    assert host.pids() == []
    with open(file, encoding="utf-8") as text:
        assert text.read() == before, "FILE is the operator's"


def test_entries_of_other_machines_are_not_started(cluster):
    host = cluster.host("alone")
    file = cluster.configuration(change=lambda text: text.replace(
        '["localhost", 26001]', '["10.99.0.1", 26001]'))
    node = cluster.node(host, "alone", standalone=file)
    node.wait_until(40, is_well, "well")
    assert node.services().keys() == LISTED - {"Worker,1"}
    assert node.stop() == 0


def test_a_change_by_command_is_kept_in_the_file(cluster):
    host = cluster.host("alone")
    file = cluster.configuration()
    node = cluster.node(host, "alone", standalone=file)
    node.wait_until(40, is_well, "well")
    before = node.pids()
    node.change("worker.keep_sandbox=true")
    until(20, lambda: {name for name, pid in node.pids().items() if pid != before[name]}
          == {"Worker,0", "Worker,1"}, "the Workers restarted")
    with open(file, "rb") as text:
        document = tomllib.load(text)
    assert document["worker"]["keep_sandbox"] is True
    assert document["services"]["Worker"] == [["localhost", 26000], ["localhost", 26001]]
    status, output = node.ctl("config", "set", "worker.keep_sandbos=true")
    assert status == 3 and "keep_sandbox" in output
    assert node.stop() == 0
    again = cluster.node(host, "alone", standalone=file)
    again.wait_until(40, is_well, "well")
    assert again.ctl("config", "get", "worker.keep_sandbox") == (0, "true\n")
    assert again.stop() == 0


def test_a_change_by_hand_is_taken_in(cluster):
    host = cluster.host("alone")
    file = cluster.configuration()
    node = cluster.node(host, "alone", standalone=file)
    node.wait_until(40, is_well, "well")
    before = node.pids()
    with open(file, encoding="utf-8") as text:
        good = text.read() + "# mine\n"
    changed = good.replace("keep_sandbox = false", "keep_sandbox = true").replace(
        '    ["localhost", 26001],\n', "") if "keep_sandbox = false" in good else None
    assert changed and changed != good
    write(file, changed)
    until(20, lambda: "Worker,1" not in node.pids() and
          node.pids()["Worker,0"] != before["Worker,0"], "one Worker less, the other restarted")
    node.wait_until(20, is_well, "well")
    with open(file, encoding="utf-8") as text:
        assert text.read() == changed, "FILE is the operator's"
    after = {name: pid for name, pid in node.pids().items() if name != "Worker,0"}
    assert all(before[name] == pid for name, pid in after.items() if name != "EvaluationService,0")
    # One that does not pass: the line is named, nothing is lost, nor overwritten by command.
    write(file, changed + "[services\n")
    status = node.wait_until(10, lambda status: status["config"]["refused"], "refused")
    line = changed.count("\n") + 1
    assert f"line {line}" in status["config"]["refused"]
    assert node.ctl("config", "set", "--yes", "worker.keep_sandbox=false")[0] == 1
    with open(file, encoding="utf-8") as text:
        assert text.read() == changed + "[services\n"
    pids = node.pids()
    write(file, changed)
    node.wait_until(10, is_well, "well again")
    assert node.pids() == pids
    assert "FILE was changed by hand" in node.ctl("config", "history")[1]
    assert node.stop() == 0


def test_a_missing_program_is_named_and_the_rest_runs(cluster):
    host = cluster.host("alone")
    folder = os.path.join(cluster.directory, "bin")
    shutil.copytree(DEMO, folder)
    os.rename(os.path.join(folder, "cmsWorker"), os.path.join(folder, "hidden"))
    node = cluster.node(host, "alone", standalone=cluster.configuration(), cms_bin=folder)
    status = node.wait_until(20, lambda status: status["config"]["refused"], "refused")
    assert "cmsWorker: no such program in " + folder in status["config"]["refused"]
    until(20, lambda: len([pid for pid in node.pids().values() if pid]) >= len(LISTED) - 2, "the rest")
    os.rename(os.path.join(folder, "hidden"), os.path.join(folder, "cmsWorker"))
    status = node.wait_until(60, is_well, "well")
    assert status["config"]["refused"] is None
    assert node.stop() == 0


def can_read(path, user):
    who = pwd.getpwnam(user)
    return subprocess.run(["cat", path], user=who.pw_uid, group=who.pw_gid, extra_groups=[],
                          capture_output=True).returncode == 0


def test_the_service_user_reads_its_files_and_nobody_else_does(cluster):
    os.chmod(cluster.directory, 0o755)
    host = cluster.host("alone")
    os.chmod(host.directory, 0o755)
    file = cluster.configuration(change=lambda text: text.replace(
        cluster.directory, os.path.join(cluster.directory, "services")))
    services = os.path.join(cluster.directory, "services")
    os.makedirs(services)
    shutil.chown(services, "games")
    node = cluster.node(host, "alone", standalone=file, user="games")
    node.wait_until(40, is_well, "well")
    pid = node.pids()["Worker,0"]
    assert os.stat(f"/proc/{pid}").st_uid == pwd.getpwnam("games").pw_uid
    with open(f"/proc/{pid}/environ", "rb") as environment:
        variables = dict(item.split(b"=", 1) for item in environment.read().split(b"\0") if item)
    config = variables[b"CMS_CONFIG"].decode()
    assert stat.S_IMODE(os.stat(config).st_mode) == 0o640
    assert can_read(config, "games") and not can_read(config, "nobody")
    assert node.stop() == 0
