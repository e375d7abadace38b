# SPDX-License-Identifier: MIT
"""
A real Docker Engine on a host of the cluster tests, that is, in its network
namespace; so each has the docker0 that every Docker host has. All that it keeps
is in the host's directory; close() leaves nothing of it on the machine.
"""

import glob
import os
import shutil
import signal
import subprocess

from network import NAMESPACES
from process import Process, clean_environment
from waiting import Hopeless, until

CGROUPS = "/sys/fs/cgroup"


def find_docker():
    """The client that came with dockerd: a much newer one does not talk to it."""
    beside = os.path.join(os.path.dirname(shutil.which("dockerd") or ""), "docker")
    for path in ("/usr/bin/docker", beside):
        if os.access(path, os.X_OK):
            return path
    return shutil.which("docker")


def mounts_below(directory):
    """Deepest first."""
    with open("/proc/self/mountinfo", encoding="utf-8") as table:
        points = [line.split()[4] for line in table]
    return sorted((point for point in points if point.startswith(directory + "/")), reverse=True)


def unmount_below(directory):
    for point in mounts_below(directory):
        subprocess.run(("umount", "--lazy", point), capture_output=True)


class Engine:
    def __init__(self, host):
        self.host = host
        self.directory = os.path.join(host.directory, "docker")
        self.socket = os.path.join(self.directory, "sock")
        # One cgroup for all containers, so that what is left over can be found.
        self.cgroup = f"{host.namespace}-docker"
        self.process = None

    def start(self):
        os.makedirs(os.path.join(self.directory, "client"))
        settings = os.path.join(self.directory, "daemon.json")
        with open(settings, "w", encoding="utf-8") as file:
            file.write("{}\n")          # the machine's own is not ours
        def path(name):
            return os.path.join(self.directory, name)
        # Not `ip netns exec`: that mounts another /sys, without cgroups.
        self.process = Process(
            ("nsenter", f"--net={NAMESPACES}/{self.host.namespace}", "dockerd",
             "--config-file", settings, "--data-root", path("data"), "--exec-root", path("exec"),
             "--pidfile", path("pid"), "--host", f"unix://{self.socket}", "--iptables=false",
             "--ip6tables=false", "--storage-driver=vfs", "--cgroup-parent", f"/{self.cgroup}",
             "--log-level=warn"),
            os.path.join(self.host.directory, "dockerd.log"))
        until(30, self._is_ready, f"dockerd on {self.host.name}")

    def _is_ready(self):
        if not self.process.is_running():
            raise Hopeless(f"dockerd ended:\n{self.process.log()[-2000:]}")
        return self.ask("version")[0] == 0

    def command(self, *arguments):
        return (find_docker(), "--config", os.path.join(self.directory, "client"),
                "--host", f"unix://{self.socket}", *arguments)

    def ask(self, *arguments):
        """(status, output); standard error is part of the output."""
        done = subprocess.run(self.command(*arguments), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=120,
                              env=clean_environment())
        return done.returncode, done.stdout

    def docker(self, *arguments):
        status, output = self.ask(*arguments)
        assert status == 0, f"docker {' '.join(arguments)}: status {status}: {output.strip()}"
        return output.strip()

    def add_image(self, file, name):
        self.docker("import", "--change", 'ENTRYPOINT ["cmsnoded"]', file, name)

    def remove_containers(self):
        names = self.ask("ps", "--all", "--quiet")[1].split()
        if names:
            self.ask("rm", "--force", "--volumes", *names)

    def logs(self):
        return {f"dockerd on {self.host.name}": self.process.log()} if self.process else {}

    def close(self):
        if not self.process:
            return
        try:
            if self.process.is_running():
                self.remove_containers()
                self.process.stop(30)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            print(f"dockerd on {self.host.name}: {error}")
        self.process.kill()
        self._kill_what_is_left()
        unmount_below(self.directory)
        shutil.rmtree(self.directory, ignore_errors=True)

    def _cgroups(self):
        """Of every hierarchy (one in version 2), inner ones first."""
        tops = [*glob.glob(f"{CGROUPS}/{self.cgroup}"), *glob.glob(f"{CGROUPS}/*/{self.cgroup}")]
        return [folder for top in tops for folder, _, _ in os.walk(top, topdown=False)]

    def _pids(self):
        """Of bridged containers too, which are in no namespace of ours."""
        pids = set()
        for folder in self._cgroups():
            with open(os.path.join(folder, "cgroup.procs"), encoding="utf-8") as file:
                pids.update(int(pid) for pid in file.read().split())
        return pids

    def _kill_what_is_left(self):
        try:
            for pid in self._pids():
                os.kill(pid, signal.SIGKILL)
            until(10, lambda: not self._pids(), f"the end of all containers on {self.host.name}")
        except (AssertionError, OSError) as error:
            print(f"containers on {self.host.name}: {error}")
        for folder in self._cgroups():
            try:
                os.rmdir(folder)
            except OSError as error:
                print(f"{folder}: {error.strerror}")
