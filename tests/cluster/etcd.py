# SPDX-License-Identifier: MIT
"""Real etcd members, one on each given host."""

import base64
import json
import os
import platform
import signal
import urllib.error
import urllib.request

from process import Process
from waiting import Hopeless, until

CLIENT_PORT, PEER_PORT = 2379, 2380


def encode(text):
    return base64.b64encode(text.encode()).decode()


class Etcd:
    """loopback: a single member that is reached from its own host only."""

    def __init__(self, hosts, loopback=False):
        assert hosts and not (loopback and len(hosts) > 1)
        self.hosts = hosts
        self.addresses = ["127.0.0.1" if loopback else host.address for host in hosts]
        self.members = [None] * len(hosts)
        self.urls = ",".join(f"http://{address}:{CLIENT_PORT}" for address in self.addresses)

    def start(self, *which):
        """All members, or those of these numbers; returns when they answer."""
        which = which or range(len(self.hosts))
        for i in which:
            self.members[i] = self._start_member(i)
        for i in which:
            until(20, lambda i=i: self._is_ready(i), f"etcd on {self.hosts[i].name}")

    def _start_member(self, i):
        host, address = self.hosts[i], self.addresses[i]
        client, peer = f"http://{address}:{CLIENT_PORT}", f"http://{address}:{PEER_PORT}"
        cluster = ",".join(f"m{k}=http://{a}:{PEER_PORT}" for k, a in enumerate(self.addresses))
        command = host.command(
            "etcd", "--name", f"m{i}", "--data-dir", os.path.join(host.directory, "etcd"),
            "--listen-client-urls", client, "--advertise-client-urls", client,
            "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
            "--initial-cluster", cluster)
        # Asked for by etcd 3.4 on processors other than amd64.
        machine = platform.machine()
        machine = {"aarch64": "arm64", "x86_64": "amd64"}.get(machine, machine)
        return Process(command, os.path.join(host.directory, "etcd.log"),
                       ETCD_UNSUPPORTED_ARCH=machine)

    def _is_ready(self, i):
        if not self.members[i].is_running():
            raise Hopeless(f"etcd ended:\n{self.members[i].log()[-2000:]}")
        try:
            return self._get(i, "/health") == {"health": "true"}
        except (OSError, ValueError):
            return False

    def _get(self, i, path, body=None):
        url = f"http://{self.addresses[i]}:{CLIENT_PORT}{path}"
        data = json.dumps(body).encode() if body is not None else None
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def ask():
            with opener.open(url, data, timeout=5) as answer:
                return json.load(answer)
        return self.hosts[i].inside(ask)

    def keys(self, prefix, member=0):
        """{key: value} below the prefix."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        reply = self._get(member, "/v3/kv/range", {"key": encode(prefix), "range_end": encode(end)})
        return {base64.b64decode(kv["key"]).decode(): base64.b64decode(kv.get("value", "")).decode()
                for kv in reply.get("kvs", [])}

    def _each(self, which):
        return [self.members[i] for i in (which or range(len(self.members))) if self.members[i]]

    def stop(self, *which):
        for member in self._each(which):
            member.stop()

    def kill(self, *which):
        for member in self._each(which):
            member.kill()

    def pause(self, *which):
        for member in self._each(which):
            member.signal(signal.SIGSTOP)

    def resume(self, *which):
        for member in self._each(which):
            member.signal(signal.SIGCONT)

    def logs(self):
        return {f"etcd on {host.name}": member.log()
                for host, member in zip(self.hosts, self.members) if member}
