# SPDX-License-Identifier: MIT
"""
Hosts out of network namespaces: one bridge in a namespace of its own, one
namespace a host with a veth pair to it. All names carry a random suffix, so
that runs beside each other do not meet, and nothing of the machine's own
network is touched.
"""

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import threading
import uuid

from waiting import until

CLONE_NEWNET = 0x40000000
NAMESPACES = "/run/netns"
NOBODY = "02:00:00:00:00:01"        # a link address that no host has
ETC = "/etc/netns"          # files that `ip netns exec` mounts over those in /etc
libc = ctypes.CDLL(None, use_errno=True)


def ip(*arguments):
    done = subprocess.run(("ip", *arguments), capture_output=True, text=True)
    assert done.returncode == 0, f"ip {' '.join(arguments)}: {done.stderr.strip()}"
    return done.stdout


def namespace_pids(namespace):
    return [int(pid) for pid in ip("netns", "pids", namespace).split()]


def write(path, text):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)


def pairs(hosts, others):
    return [pair for host in hosts for other in others for pair in ((host, other), (other, host))]


class Network:
    """A bridge and the hosts on it, 10.77.X.0/24, gateway .1."""

    def __init__(self, directory):
        self.directory = directory
        self.suffix = secrets.token_hex(3)
        self.prefix = f"10.77.{secrets.randbelow(254) + 1}"
        self.switch = f"cn-{self.suffix}-switch"
        self.hosts = []
        ip("netns", "add", self.switch)
        ip("-n", self.switch, "link", "add", "br0", "type", "bridge")
        ip("-n", self.switch, "addr", "add", f"{self.prefix}.1/24", "dev", "br0")
        ip("-n", self.switch, "link", "set", "br0", "up")

    def add_host(self, name, docker0=False):
        host = Host(self, name, f"{self.prefix}.{len(self.hosts) + 10}")
        self.hosts.append(host)     # before it is built: what is half built is removed too
        host.build(docker0)
        return host

    def cut(self, hosts, others):
        """
        No packet between these any more, without a word to either side: each
        believes the other at a link address that nobody has. All else goes on.
        """
        for host, other in pairs(hosts, others):
            ip("-n", host.namespace, "neigh", "replace", other.address, "lladdr", NOBODY,
               "dev", "eth0", "nud", "permanent")

    def heal(self, hosts, others):
        for host, other in pairs(hosts, others):
            ip("-n", host.namespace, "neigh", "del", other.address, "dev", "eth0")

    def remove(self):
        for host in self.hosts:
            host.remove()
        subprocess.run(("ip", "netns", "del", self.switch), capture_output=True)


class Host:
    """A namespace with eth0, a default route, and machine facts of its own."""

    def __init__(self, network, name, address):
        self.network, self.name, self.address = network, name, address
        self.namespace = f"cn-{network.suffix}-{name}"
        self.directory = os.path.join(network.directory, name)
        self.facts_root = os.path.join(self.directory, "facts")
        self.state_dir = os.path.join(self.directory, "state")
        self.run_dir = os.path.join(self.directory, "run")

    def build(self, docker0):
        self._write_facts()
        ip("netns", "add", self.namespace)
        ip("-n", self.namespace, "link", "set", "lo", "up")
        ip("-n", self.namespace, "link", "add", "eth0", "type", "veth",
           "peer", "name", self.name, "netns", self.network.switch)
        ip("-n", self.network.switch, "link", "set", "dev", self.name, "master", "br0", "up")
        ip("-n", self.namespace, "addr", "add", f"{self.address}/24", "dev", "eth0")
        ip("-n", self.namespace, "link", "set", "eth0", "up")
        ip("-n", self.namespace, "route", "add", "default", "via", f"{self.network.prefix}.1")
        if docker0:
            ip("-n", self.namespace, "link", "add", "docker0", "type", "bridge")
            ip("-n", self.namespace, "addr", "add", "172.17.0.1/16", "dev", "docker0")
            ip("-n", self.namespace, "link", "set", "docker0", "up")

    def _write_facts(self):
        boot_id, product = str(uuid.uuid4()), str(uuid.uuid4())
        write(f"{self.facts_root}/proc/sys/kernel/random/boot_id", boot_id + "\n")
        write(f"{self.facts_root}/sys/class/dmi/id/product_uuid", product.upper() + "\n")
        write(f"{self.facts_root}/etc/hostname", self.name + "\n")
        write(f"{ETC}/{self.namespace}/hosts", f"127.0.0.1\tlocalhost\n127.0.1.1\t{self.name}\n")
        # Refused at once, where a resolver out of reach would take seconds.
        write(f"{ETC}/{self.namespace}/resolv.conf", "nameserver 127.0.0.1\n")

    def command(self, *arguments):
        """`ip netns exec` becomes the program: its pid is the program's."""
        return ("ip", "netns", "exec", self.namespace, *arguments)

    def run(self, *arguments, **options):
        """(status, output); standard error is part of the output."""
        done = subprocess.run(self.command(*arguments), stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, text=True, timeout=60, **options)
        return done.returncode, done.stdout

    def pids(self):
        return namespace_pids(self.namespace)

    def has_process(self, pid):
        ours = os.stat(f"{NAMESPACES}/{self.namespace}")
        its = os.stat(f"/proc/{pid}/ns/net")
        return (ours.st_dev, ours.st_ino) == (its.st_dev, its.st_ino)

    def inside(self, function):
        """function() in a thread that is in this namespace; sockets made there stay there."""
        result = []

        def enter():
            with open(f"{NAMESPACES}/{self.namespace}", "rb") as namespace:
                if libc.setns(namespace.fileno(), CLONE_NEWNET) != 0:
                    result.append((None, OSError(ctypes.get_errno(), "setns")))
                    return
            try:
                result.append((function(), None))
            except Exception as error:      # handed to whoever asked
                result.append((None, error))
        thread = threading.Thread(target=enter)
        thread.start()
        thread.join()
        value, error = result[0]
        if error:
            raise error
        return value

    def connect(self, address, port, timeout_s=5):
        return self.inside(lambda: socket.create_connection((address, port), timeout_s))

    def established(self, port):
        """How many connections to this port of anybody stand."""
        def count():
            with open("/proc/thread-self/net/tcp", encoding="ascii") as table:
                rows = [line.split() for line in table][1:]
            return sum(row[2].endswith(f":{port:04X}") and row[3] == "01" for row in rows)
        return self.inside(count)

    def kill_all(self):
        """Again and again: a daemon may start a unit anew between the look and its own end."""
        def none_left():
            pids = self.pids()              # only what was started in here
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    pass
            return not pids
        until(10, none_left, f"the end of all processes on {self.name}")

    def remove(self):
        try:
            self.kill_all()
        except AssertionError as error:
            print(f"{self.namespace}: {error}")
        subprocess.run(("ip", "netns", "del", self.namespace), capture_output=True)
        for name in ("hosts", "resolv.conf"):
            if os.path.exists(f"{ETC}/{self.namespace}/{name}"):
                os.unlink(f"{ETC}/{self.namespace}/{name}")
        for folder in (f"{ETC}/{self.namespace}", ETC):
            try:
                os.rmdir(folder)            # ETC: only if nobody else has anything there
            except OSError:
                pass
