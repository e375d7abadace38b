# SPDX-License-Identifier: MIT
"""One cmsnoded on a host, and cmsnodectl beside it."""

import json
import os

from process import Process, clean_environment
from waiting import Hopeless, until

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
DEMO = os.path.join(TOP, "contrib", "demo")
TAIL = 6000


def find_program(name):
    """In CLUSTER_BUILD_DIR, .build/ or the tree itself."""
    given = os.environ.get("CLUSTER_BUILD_DIR")
    folders = [given] if given else [os.path.join(TOP, ".build"), TOP]
    for folder in folders:
        path = os.path.abspath(os.path.join(folder, name))
        if os.access(path, os.X_OK):
            return path
    raise AssertionError(f"{name} is not built in {' or '.join(folders)}; run make there, "
                         "or name the build directory in CLUSTER_BUILD_DIR")


class Node:
    """name: also its --node-id. The settings given last win over the usual ones."""

    def __init__(self, host, name, **settings):
        self.host, self.name = host, name
        self.process = None
        self.settings = {
            "node-id": name, "state-dir": host.state_dir, "run-dir": host.run_dir,
            "facts-root": host.facts_root, "cms-bin": DEMO, "user": "root", "contest": "1",
            "names": "off", "health-interval": "1", "address-settle": "1",
            "config": os.path.join(host.directory, "cmsnoded.toml"),
            **{key.replace("_", "-"): value for key, value in settings.items()}}

    def command(self):
        arguments = [f"--{key}={value}" for key, value in self.settings.items()
                     if value is not None]
        return self.host.command(find_program("cmsnoded"), *arguments)

    def start(self):
        with open(self.settings["config"], "a", encoding="utf-8"):
            pass                    # empty: /etc/cmsnoded.toml of this machine is not ours
        self.process = Process(self.command(), self.log_path())

    def log_path(self):
        return os.path.join(self.host.directory, f"{self.name}.log")

    def log(self):
        return self.process.log() if self.process else ""

    def ctl(self, *arguments):
        """(status, output)"""
        return self.host.run(find_program("cmsnodectl"), "--run-dir", self.settings["run-dir"],
                             *arguments, env=clean_environment())

    def change(self, *assignments):
        status, output = self.ctl("config", "set", "--yes", *assignments)
        assert status == 0, f"config set {assignments}: status {status}: {output}"

    def status(self, cluster=False):
        """The object of `status --json`; AssertionError while the daemon does not answer."""
        status, output = self.ctl("status", "--json", *(["--cluster"] if cluster else []))
        assert status == 0, f"{self.name}: cmsnodectl ended with {status}: {output.strip()}"
        return json.loads(output)

    def wait_until(self, deadline_s, predicate, what):
        """predicate(status) becomes true; returns that status."""
        def look():
            self.expect_running()
            status = self.status()
            return status if predicate(status) else None
        try:
            return until(deadline_s, look, f"{self.name}: {what}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.ctl('status')[1]}") from None

    def expect_running(self):
        if not self.process.is_running():
            raise Hopeless(f"{self.name} ended with {self.process.child.returncode}: "
                           f"{self.log()[-2000:]}")

    def services(self):
        """{"Worker,0": entry}; without ResourceService, which is the daemon itself."""
        return {coord(entry): entry for entry in self.status()["services"]
                if entry["service"] != "ResourceService"}

    def pids(self):
        return {name: entry["pid"] for name, entry in self.services().items()}

    def stop(self, deadline_s=20):
        return self.process.stop(deadline_s)

    def logs(self):
        texts = {f"cmsnoded {self.name}": self.log()}
        folder = os.path.join(self.settings["run-dir"], "output")
        for name in sorted(os.listdir(folder)) if os.path.isdir(folder) else ():
            with open(os.path.join(folder, name), encoding="utf-8", errors="replace") as file:
                texts[f"{name} of {self.name}"] = file.read()[-TAIL // 6:]
        return {title: text[-TAIL:] for title, text in texts.items()}


def coord(entry):
    return f"{entry['service']},{entry['shard']}"


def is_well(status):
    """Active, on the newest generation, and all that should run is healthy."""
    services = [entry for entry in status["services"] if entry["state"] != "disabled"]
    return (status["node"]["state"] == "active" and status["config"]["current"] is not None
            and status["config"]["current"] == status["config"]["applied"] and services
            and all(entry["state"] == "running" and entry["healthy"] for entry in services))
