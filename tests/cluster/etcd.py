# SPDX-License-Identifier: MIT
"""Real etcd members, one on each given host, and what can happen to them."""

import base64
import json
import os
import platform
import shutil
import signal
import urllib.error
import urllib.request

from process import Process, clean_environment
from waiting import Hopeless, until

CLIENT_PORT, PEER_PORT = 2379, 2380
ROOT_PASSWORD = "root-of-etcd"


def encode(text):
    return base64.b64encode(text.encode()).decode()


def environment():
    # Asked for by etcd 3.4 on processors other than amd64.
    machine = platform.machine()
    return {"ETCD_UNSUPPORTED_ARCH": {"aarch64": "arm64", "x86_64": "amd64"}.get(machine, machine),
            "ETCDCTL_API": "3"}


class Etcd:
    """loopback: a single member that is reached from its own host only."""

    def __init__(self, hosts, loopback=False, options=()):
        assert hosts and not (loopback and len(hosts) > 1)
        self.hosts = hosts
        self.options = options
        self.addresses = ["127.0.0.1" if loopback else host.address for host in hosts]
        self.members = [None] * len(hosts)
        self.urls = ",".join(f"http://{address}:{CLIENT_PORT}" for address in self.addresses)
        self.has_users = False

    def start(self, *which):
        """All members, or those of these numbers; returns when they answer."""
        which = which or range(len(self.hosts))
        for i in which:
            self.members[i] = self._start_member(i)
        for i in which:
            until(20, lambda i=i: self._is_ready(i), f"etcd on {self.hosts[i].name}")

    def _data(self, i):
        return os.path.join(self.hosts[i].directory, "etcd")

    def _peer(self, i):
        return f"http://{self.addresses[i]}:{PEER_PORT}"

    def _identity(self, i):
        """Options that a member and its making from a snapshot have in common."""
        cluster = ",".join(f"m{k}={self._peer(k)}" for k in range(len(self.hosts)))
        return ("--name", f"m{i}", "--data-dir", self._data(i),
                "--initial-advertise-peer-urls", self._peer(i), "--initial-cluster", cluster)

    def _start_member(self, i):
        host, client = self.hosts[i], f"http://{self.addresses[i]}:{CLIENT_PORT}"
        command = host.command(
            "etcd", *self._identity(i), "--listen-client-urls", client,
            "--advertise-client-urls", client, "--listen-peer-urls", self._peer(i), *self.options)
        return Process(command, os.path.join(host.directory, "etcd.log"), **environment())

    def _is_ready(self, i):
        if not self.members[i].is_running():
            raise Hopeless(f"etcd ended:\n{self.members[i].log()[-2000:]}")
        try:
            return self._get(i, "/health") == {"health": "true"}
        except (OSError, ValueError):
            return False

    # ---- what they say -------------------------------------------------------------

    def _get(self, i, path, body=None, token=None):
        request = urllib.request.Request(
            f"http://{self.addresses[i]}:{CLIENT_PORT}{path}",
            json.dumps(body).encode() if body is not None else None,
            {"Authorization": token} if token else {})
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

        def ask():
            with opener.open(request, timeout=5) as answer:
                return json.load(answer)
        return self.hosts[i].inside(ask)

    def _token(self, i):
        if not self.has_users:
            return None
        return self._get(i, "/v3/auth/authenticate",
                         {"name": "root", "password": ROOT_PASSWORD})["token"]

    def range(self, prefix, member=0):
        """Of all keys below the prefix; as etcd's gateway says it."""
        end = prefix[:-1] + chr(ord(prefix[-1]) + 1)
        return self._get(member, "/v3/kv/range", {"key": encode(prefix), "range_end": encode(end)},
                         self._token(member))

    def keys(self, prefix, member=0):
        """{key: value} below the prefix."""
        return {base64.b64decode(kv["key"]).decode(): base64.b64decode(kv.get("value", "")).decode()
                for kv in self.range(prefix, member).get("kvs", [])}

    def leader(self):
        """Its number, as soon as the members that answer have one."""
        def look():
            for i, member in enumerate(self.members):
                if not member or not member.is_running():
                    continue
                try:
                    status = self._get(i, "/v3/maintenance/status", {})
                except OSError:
                    continue
                if status.get("leader") == status["header"]["member_id"]:
                    return (i,)
            return None
        return until(20, look, "a leader")[0]

    def number_of(self, url):
        """Of the member with this client URL."""
        return [url == f"http://{address}:{CLIENT_PORT}" for address in self.addresses].index(True)

    def etcdctl(self, *arguments, member=0):
        """Its output; AssertionError if it fails."""
        user = ("--user", f"root:{ROOT_PASSWORD}") if self.has_users else ()
        status, output = self.hosts[member].run(
            "etcdctl", "--endpoints", f"{self.addresses[member]}:{CLIENT_PORT}", *user, *arguments,
            env=clean_environment(**environment()))
        assert status == 0, f"etcdctl {' '.join(arguments)}: {output}"
        return output

    # ---- what an operator does -----------------------------------------------------

    def compact(self):
        """All history is gone, on every member."""
        revision = self.range("/")["header"]["revision"]
        self.etcdctl("compaction", "--physical", revision)

    def snapshot(self, path):
        self.etcdctl("snapshot", "save", path)

    def fill(self, prefix, size=256 << 10, times=100):
        """Puts keys below the prefix until etcd has no space for more."""
        for i in range(times):
            try:
                self._get(0, "/v3/kv/put", {"key": encode(f"{prefix}{i}"),
                                            "value": encode("x" * size)})
            except urllib.error.HTTPError as error:
                assert error.code == 429 and b"database space exceeded" in error.read()
                return
        raise AssertionError(f"etcd took {times} x {size} bytes")

    def make_space(self, prefix):
        """As its documentation says it, after `fill`."""
        self.etcdctl("del", "--prefix", prefix)
        self.compact()
        for member in range(len(self.hosts)):
            self.etcdctl("defrag", member=member)
        self.etcdctl("alarm", "disarm")

    def wipe(self):
        """No data any more, as if the members had never been; they must not run."""
        for i in range(len(self.hosts)):
            assert not self.members[i].is_running()
            shutil.rmtree(self._data(i))

    def restore(self, path):
        """New members with the content of a snapshot; the old ones must not run."""
        self.wipe()
        for i in range(len(self.hosts)):
            self.etcdctl("snapshot", "restore", path, *self._identity(i), member=i)

    def give_users(self, name, password, prefix):
        """From now on nobody may do anything but root, and this one below the prefix."""
        self.etcdctl("user", "add", f"root:{ROOT_PASSWORD}")
        self.etcdctl("user", "grant-role", "root", "root")
        self.etcdctl("role", "add", name)
        self.etcdctl("role", "grant-permission", "--prefix=true", name, "readwrite", prefix)
        self.etcdctl("user", "add", f"{name}:{password}")
        self.etcdctl("user", "grant-role", name, name)
        self.etcdctl("auth", "enable")
        self.has_users = True

    def set_password(self, name, password):
        token = self._token(0)
        self._get(0, "/v3/auth/user/changepw", {"name": name, "password": password}, token)

    # ---- what happens to them ------------------------------------------------------

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
