# SPDX-License-Identifier: MIT
"""
Changing the configuration of a running cluster: A is the core, B has Workers, C
has ContestWebServers. Shown before it is done, done as it was shown, and only
what reads a changed key restarts. The tests share the three and leave them well.
"""

import json
import os
import stat

import pytest

from node import find_program
from test_three_hosts_join_and_run import all_pids, expect_restarts
from waiting import stays, until

JOIN_S = 60
SECRET = "0123456789abcdef0123456789abcdef"


@pytest.fixture(scope="module")
def three(module_cluster):
    cluster = module_cluster
    cluster.start_etcd(cluster.host("store"))
    for name, role in (("a", "core"), ("b", "worker:2"), ("c", "contest-web:2,ranking")):
        cluster.node(cluster.host(name), name, role=role)
    until(JOIN_S, lambda: len(all_pids(cluster)) == 11, "all services")
    cluster.wait_until_well(JOIN_S)
    return cluster


def names_of(cluster, *services):
    return {key for key in all_pids(cluster) if key[1].split(",")[0] in services}


def generation(node):
    return node.status()["config"]["current"]


def write(cluster, name, text):
    path = os.path.join(cluster.directory, name)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    return path


def test_a_plan_changes_nothing(three):
    a = three.nodes[0]
    before = generation(a)
    status, output = a.ctl("plan", "worker.keep_sandbox=true")
    assert status == 0
    assert "worker.keep_sandbox: (not set) -> true" in output or \
        "worker.keep_sandbox: false -> true" in output
    plan = json.loads(a.ctl("plan", "--json", "worker.keep_sandbox=true")[1])
    assert [entry["path"] for entry in plan["changes"]["entries"]] == ["worker.keep_sandbox"]
    stays(2, lambda: generation(a) == before, "nothing was changed")


def test_what_would_be_refused_is_refused_in_the_plan(three):
    status, output = three.nodes[0].ctl("plan", "web_server.secret_key=short")
    assert status == 3 and "secret_key" in output and "openssl rand" in output
    status, output = three.nodes[0].ctl("plan", "worker.keep_sandbos=true")
    assert status == 3 and "did you mean worker.keep_sandbox" in output


def test_nobody_to_ask_is_no_consent(three):
    a = three.nodes[0]
    before = generation(a)
    status, output = a.ctl("config", "set", "worker.keep_sandbox=true")
    assert status == 2 and "--yes" in output
    assert generation(a) == before


CLASSES = [
    ("worker.keep_sandbox=true", ("Worker",)),
    ("admin_web_server.cookie_duration=36001", ("AdminWebServer",)),
    ("contest_web_server.cookie_duration=10801", ("ContestWebServer",)),
    (f"web_server.secret_key={SECRET}", ("AdminWebServer", "ContestWebServer")),
    ("global.temp_dir=/var/tmp", ("AdminWebServer", "ContestWebServer", "Worker")),
    ("proxy_service.https_certfile=/nowhere", ("ProxyService",)),
    ("prometheus.listen_port=8812", ()),
    ("topology.settle_s=6", ()),
    ("ranking.realm_name=Finals", ("RankingWebServer",)),
    ("database.debug=true", ("AdminWebServer", "ContestWebServer", "EvaluationService",
                             "ProxyService", "ScoringService", "Worker")),
    ("global.stream_log_detailed=true", ("AdminWebServer", "Checker", "ContestWebServer",
                                         "EvaluationService", "LogService", "ProxyService",
                                         "ScoringService", "Worker")),
]


@pytest.mark.parametrize("assignment, services", CLASSES)
def test_only_who_reads_a_key_restarts(three, assignment, services):
    before = all_pids(three)
    status, output = three.nodes[0].ctl("config", "set", "--yes", "--wait", assignment)
    assert status == 0, output
    for node in three.nodes:
        assert f"{node.name}: applied" in output
    expect_restarts(three, before, names_of(three, *services))


def test_history_says_who_when_why_and_what(three):
    a = three.nodes[0]
    assert a.ctl("config", "set", "--yes", "-m", "before the contest",
                 "worker.keep_sandbox=false")[0] == 0
    entries = json.loads(a.ctl("config", "history", "--json")[1])["generations"]
    assert entries[0]["current"] and entries[0]["author"] == "operator"
    assert entries[0]["reason"] == "before the contest"
    assert entries[0]["changes"] == ["worker.keep_sandbox"]
    sequences = [entry["sequence"] for entry in entries]
    assert sequences == sorted(sequences, reverse=True) and len(entries) > len(CLASSES)
    assert "before the contest" in a.ctl("config", "history", "-n", "1")[1]
    three.wait_until_well(30)


def test_diff_and_rollback_by_sequence(three):
    a = three.nodes[0]
    entries = json.loads(a.ctl("config", "history", "--json")[1])["generations"]
    diff = a.ctl("config", "diff")[1]
    assert "worker.keep_sandbox: true -> false" in diff
    assert "nothing differs" in a.ctl("config", "diff", str(entries[0]["sequence"]),
                                      entries[0]["generation"])[1]
    before = all_pids(three)
    status, output = a.ctl("config", "rollback", str(entries[1]["sequence"]), "--yes", "--wait")
    assert status == 0 and "worker.keep_sandbox: false -> true" in output
    expect_restarts(three, before, names_of(three, "Worker"))
    assert json.loads(a.ctl("config", "history", "--json")[1])["generations"][0]["reason"] == \
        f"back to {entries[1]['generation']}"
    status, output = a.ctl("config", "rollback", "999999", "--yes")
    assert status == 2 and "history" in output


def test_an_export_imported_again_changes_nothing(three):
    a = three.nodes[0]
    for form in ("toml", "json"):
        text = a.ctl("config", "export", "--format", form)[1]
        status, output = a.ctl("config", "import", write(three, f"export.{form}", text))
        assert status == 0 and output == "nothing would change\n"


def test_a_file_is_imported(three):
    a = three.nodes[0]
    before = all_pids(three)
    text = a.ctl("config", "export", "--format", "toml")[1]
    assert "keep_sandbox = true" in text
    path = write(three, "new.toml", text.replace("keep_sandbox = true", "keep_sandbox = false"))
    assert "worker.keep_sandbox: true -> false" in a.ctl("plan", path)[1]
    status, output = a.ctl("config", "import", path, "--yes", "--wait", "-m", "from the file")
    assert status == 0, output
    expect_restarts(three, before, names_of(three, "Worker"))
    # It would take a Worker from B.
    broken = write(three, "taken.toml", text.replace(three.nodes[1].host.address, "10.99.99.99"))
    status, output = a.ctl("config", "import", broken, "--yes")
    assert status == 3 and "assigned to node 'b'" in output
    broken = write(three, "broken.toml", "[services\n")
    status, output = a.ctl("config", "import", broken, "--yes")
    assert status == 3 and "line 1" in output


def test_the_ranking_has_a_file_of_its_own(three):
    a = three.nodes[0]
    before = all_pids(three)
    text = a.ctl("config", "export", "--ranking", "--format", "toml")[1]
    assert 'realm_name = "Finals"' in text
    path = write(three, "ranking.toml", text)
    assert a.ctl("config", "import", "--ranking", path)[1] == "nothing would change\n"
    status, output = a.ctl("config", "import", path, "--yes")
    assert status == 3 and "ranking" in output
    write(three, "ranking.toml", text.replace("Finals", "Practice"))
    assert a.ctl("config", "import", "--ranking", "--yes", "--wait", path)[0] == 0
    expect_restarts(three, before, names_of(three, "RankingWebServer"))
    conf = a.ctl("config", "export", "--ranking", "--format", "json")[1]
    assert '"realm_name": "Practice"' in conf


def test_what_a_conversion_costs_is_said(three):
    a = three.nodes[0]
    assert a.ctl("config", "set", "--yes", "--wait", "contest_web_server.contest_admin_token=x")[0] == 0
    output = a.ctl("config", "export", "--format", "json")[1]
    assert "warning: contest_web_server.contest_admin_token: is lost" in output
    assert a.ctl("config", "unset", "--yes", "--wait", "contest_web_server.contest_admin_token")[0] == 0
    three.wait_until_well(30)


def test_unset_leaves_an_entry_to_cms(three):
    a = three.nodes[0]
    assert a.ctl("config", "unset", "--yes", "--wait", "prometheus.listen_port")[0] == 0
    assert "is not set" in a.ctl("config", "get", "prometheus.listen_port")[1]
    status, output = a.ctl("config", "unset", "--yes", "prometheus.listen_port")
    assert status == 3 and "is not set" in output


def test_frozen_refuses_all_but_thawing(three):
    a, b = three.nodes[:2]
    assert a.ctl("config", "freeze")[0] == 0
    until(10, lambda: b.ctl("config", "get", "topology.frozen")[1].strip() == "true", "frozen")
    status, output = b.ctl("config", "set", "--yes", "worker.keep_sandbox=true")
    assert status == 3 and "frozen" in output
    assert b.ctl("config", "thaw")[0] == 0
    until(10, lambda: a.ctl("config", "get", "topology.frozen")[1].strip() == "false", "thawed")


def editor(cluster, script):
    path = write(cluster, "editor", f"#!/bin/sh\n{script}\n")
    os.chmod(path, stat.S_IRWXU)
    return path


def run_edit(cluster, node, script, *arguments):
    return node.host.run("env", f"EDITOR={editor(cluster, script)}", f"TMPDIR={cluster.directory}",
                         find_program("cmsnodectl"), "--run-dir", node.settings["run-dir"],
                         "config", "edit", *arguments)


def test_edit_goes_on_until_it_passes(three):
    a = three.nodes[0]
    count = os.path.join(three.directory, "rounds")
    seen = os.path.join(three.directory, "seen")
    script = (f'echo x >>{count}; if [ "$(wc -l <{count})" = 1 ]; then '
              'sed -i "s/^keep_sandbox.*/keep_sandbox = 7/" "$1"; else '
              f'cp "$1" {seen}; sed -i "s/^keep_sandbox.*/keep_sandbox = true/" "$1"; fi')
    status, output = run_edit(three, a, script, "--yes", "--wait")
    assert status == 0, output
    with open(seen, encoding="utf-8") as file:
        text = file.read()
    assert text.startswith("# cmsnodectl: ") and "worker.keep_sandbox: 7 is an integer" in text
    assert a.ctl("config", "get", "worker.keep_sandbox")[1].strip() == "true"
    status, output = run_edit(three, a, "true", "--yes")
    assert status == 2 and "nothing was changed" in output
    status, output = run_edit(three, a, "exit 3", "--yes")
    assert status == 1 and "editor failed" in output
    assert not [name for name in os.listdir(three.directory) if name.startswith("cmsnodectl.")]
    three.wait_until_well(30)


PLANTED = "planted-5ecret"
SECRETS = {
    "database.url": f"postgresql+psycopg2://cmsuser:{PLANTED}@localhost:5432/cmsdb",
    "proxy_service.rankings": f'["http://someone:{PLANTED}@localhost:8890/"]',
    "contest_web_server.contest_admin_token": PLANTED,
    "ranking.password": PLANTED,
    "telegram_bot.bot_token": PLANTED,
}


def process_texts(host):
    """Command line and environment of all that runs there."""
    for pid in host.pids():
        for name in ("cmdline", "environ"):
            try:
                with open(f"/proc/{pid}/{name}", "rb") as file:
                    yield f"{name} of {pid}", file.read().decode(errors="replace")
            except OSError:
                pass            # it ended meanwhile


def test_no_secret_in_what_is_shown_logged_or_passed_on(three):
    a = three.nodes[0]
    words = [f"{key}={value}" for key, value in SECRETS.items()] + ["telegram_bot.chat_id=7"]
    # A change's own command line is the operator's; this one is not looked at.
    outputs = [a.ctl(*command)[1] for command in (
        ("plan", *words), ("plan", "--json", *words),
        ("config", "set", "--yes", "--wait", *words),
        ("config", "set", "--yes", "--wait", "database.url=mysql://u:" + PLANTED + "@h/d"),
        ("config", "set", "--yes", f"ranking.password=[{PLANTED}"),
        ("config", "diff"), ("config", "diff", "--json"), ("config", "history", "--json"),
        ("config", "show"), ("config", "show", "--json"), ("status", "--json", "--cluster"),
        ("explain", "--json"), *(("config", "get", key) for key in SECRETS))]
    assert "agreed" in outputs[2] and all(key in outputs[0] for key in SECRETS)
    texts = dict(enumerate(outputs))
    for node in three.nodes:
        texts.update({f"{title} of {node.name}": text for title, text in node.logs().items()})
        texts.update(process_texts(node.host))
        texts[f"log of {node.name}"] = node.log()
    for title, text in texts.items():
        assert PLANTED not in text, title
    for key in SECRETS:
        assert PLANTED in a.ctl("config", "get", "--reveal", key)[1]
    assert PLANTED in a.ctl("config", "export")[1]
    three.wait_until_well(30)
