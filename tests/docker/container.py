# SPDX-License-Identifier: MIT
"""
A Node whose cmsnoded is PID 1 of a container. Its process is the attached
client: what that prints is the container's output, its status the container's.
"""

import json
import os

from image import DEMO_BIN
from node import Node
from process import Process

STATE = "/var/lib/cmsnoded"
# Given as CMSNODE_*, as a compose file would; all others as options.
BY_ENVIRONMENT = ("etcd", "role", "contest", "node-id", "instance", "prefix", "seed-config")
SEED = "/etc/cms-seed.toml"


class Container(Node):
    """volume: keeps the state; bridged: a network of its own. What is None is not given."""

    def __init__(self, engine, image, name, volume=None, bridged=False, **settings):
        self.engine, self.image, self.bridged = engine, image, bridged
        self.volume = volume or f"{name}-state"
        self.seed = settings.pop("seed_config", None)
        super().__init__(engine.host, name, **{
            "node_id": None, "state_dir": None, "run_dir": None, "facts_root": None,
            "config": None, "cms_bin": DEMO_BIN, "seed_config": SEED if self.seed else None,
            **settings})

    def create(self):
        """Apart from start(), as copying the image takes a while."""
        given = {key: value for key, value in self.settings.items() if value is not None}
        options = ["--name", self.name, "--volume", f"{self.volume}:{STATE}",
                   "--network", "bridge" if self.bridged else "host"]
        if self.seed:
            options += ["--volume", f"{self.seed}:{SEED}:ro"]
        for key in BY_ENVIRONMENT:
            if key in given:
                options += ["--env", f"CMSNODE_{key.upper().replace('-', '_')}={given.pop(key)}"]
        self.engine.docker("create", *options, self.image,
                           *(f"--{key}={value}" for key, value in given.items()))

    def start(self):
        self.process = Process(self.engine.command("start", "--attach", self.name),
                               self.log_path())

    def log_path(self):
        return os.path.join(self.host.directory, f"{self.name}.log")

    def ctl(self, *arguments):
        return self.engine.ask("exec", self.name, "cmsnodectl", *arguments)

    def id(self):
        return self.status()["node"]["id"]

    def inspect(self):
        return json.loads(self.engine.docker("inspect", self.name))[0]

    def processes(self):
        """{pid: (parent, state, command line)} as the container numbers them."""
        # Not `docker top`: it lists what is in the cgroup, and no zombie is.
        lines = self.engine.docker("exec", self.name, "ps", "-e", "--no-headers",
                                   "-o", "pid,ppid,stat,args").splitlines()
        split = [line.split(None, 3) for line in lines]
        found = {int(pid): (int(parent), state, args) for pid, parent, state, args in split}
        return {pid: seen for pid, seen in found.items() if not seen[2].startswith("ps -e ")}

    def zombies(self):
        return {pid: seen for pid, seen in self.processes().items() if seen[1].startswith("Z")}

    def stop(self, deadline_s=20):
        """`docker stop` with its own limit of 10 s, after which it kills (status 137)."""
        self.engine.docker("stop", self.name)
        return self.process.wait(deadline_s)

    def remove(self):
        """As a crash would end it, without its volume."""
        self.engine.docker("rm", "--force", self.name)
        self.process.wait(10)

    def logs(self):
        return {f"container {self.name}": self.log()[-6000:]}
