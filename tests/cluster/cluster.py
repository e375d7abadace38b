# SPDX-License-Identifier: MIT
"""
Everything that one test needs: hosts, etcd, nodes. close() ends and removes
all of it, whatever happened before.
"""

import os
import shutil
import tempfile

from etcd import Etcd
from network import Network
from node import DEMO, Node, is_well
from waiting import until


class Cluster:
    def __init__(self):
        # Short: the control socket's path has to fit into 107 bytes.
        self.directory = tempfile.mkdtemp(prefix="cn-")
        self.etcd = None
        self.nodes = []
        self.network = None
        self.kept_logs = {}
        try:
            self.network = Network(self.directory)
        except BaseException:
            self.close()
            raise

    def host(self, name, docker0=False):
        return self.network.add_host(name, docker0)

    def start_etcd(self, *hosts, loopback=False, options=()):
        self.etcd = Etcd(list(hosts), loopback, options)
        self.etcd.start()
        return self.etcd

    def node(self, host, name, **settings):
        """Started; settings are options with _ for -. etcd and a seed unless said otherwise."""
        if "standalone" not in settings:
            settings.setdefault("etcd", self.etcd.urls if self.etcd else None)
            settings.setdefault("seed_config", self.configuration())
        node = Node(host, name, **settings)
        self.nodes.append(node)
        node.start()
        return node

    def configuration(self, name="cms.toml", change=lambda text: text):
        """The path of a copy of the demonstration configuration, changed by change(text)."""
        path = os.path.join(self.directory, name)
        with open(os.path.join(DEMO, "cms.sample.toml"), encoding="utf-8") as sample:
            text = sample.read().replace("@DIR@", self.directory)
        with open(path + ".new", "w", encoding="utf-8") as file:
            file.write(change(text))
        os.replace(path + ".new", path)     # a node may be reading it
        return path

    def wait_until_well(self, deadline_s, *nodes):
        """These nodes (all, by default) agree on one generation and are well."""
        nodes = nodes or self.nodes

        def look():
            for node in nodes:
                node.expect_running()
            statuses = [node.status() for node in nodes]
            for node, status in zip(nodes, statuses):
                assert is_well(status), f"{node.name} is not well:\n{node.ctl('status')[1]}"
            return len({status["config"]["applied"] for status in statuses}) == 1
        until(deadline_s, look, "all nodes well")

    def logs(self):
        texts = dict(self.kept_logs)
        for part in [*self.nodes, *([self.etcd] if self.etcd else [])]:
            texts.update(part.logs())
        return texts

    def close(self):
        try:
            self.kept_logs = self.logs()
        except OSError as error:
            print(f"logs: {error}")
        if self.network:
            self.network.remove()
        members = self.etcd.members if self.etcd else []
        for process in [*(node.process for node in self.nodes), *members]:
            if process:
                process.kill()
        self.nodes, self.etcd = [], None
        shutil.rmtree(self.directory, ignore_errors=True)
