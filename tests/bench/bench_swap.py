#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
bench_swap.py [NODES...]: how soon a change is everywhere, at 1, 10 and 100 real nodes;
and beside it, in the same run, the floor that etcd sets: one transaction, and its event
on that many plain watches. `make bench-swap` runs it; it wants root. Nothing is
asserted: machines are noisy, the reader judges.

acknowledged  from the answer (to config.apply; of the transaction) until the node has
              applied, the event has come; that may be before the answer: less than 0
asked         from the question on

applied: the directory of the generation has its name in the node's state directory; the
node has saved, read, checked and rendered it then, all of it synced to the disk.
"""

import ctypes
import itertools
import json
import os
import selectors
import signal
import socket
import statistics
import struct
import sys

import crowd
from crowd import Crowd, now
from etcd import encode
from network import libc

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "40"))
MEMBERS = int(os.environ.get("BENCH_ETCD_MEMBERS", "3"))
USUAL = (1, 10, 100)
FLOOR_KEY = "/bench/floor"
AT_ONCE = 25
DEADLINE_S = 30
IN_MOVED_TO, IN_NONBLOCK = 0x80, 0o4000


class Race:
    """Who comes when, after a question on one socket; all is read as it comes."""

    def __init__(self, asker, question, runners):
        """runners: {file: function that reads it and says who has come}"""
        self.asked = now()
        asker.sendall(question)
        self.answer, self.acknowledged = b"", None
        self.came = {}
        self.asker, self.runners = asker, runners

    def run(self, count, is_complete):
        """Until the answer is complete and `count` have come."""
        end = now() + DEADLINE_S
        with selectors.DefaultSelector() as selector:
            for file in (self.asker, *self.runners):
                selector.register(file, selectors.EVENT_READ)
            while self.acknowledged is None or len(self.came) < count:
                assert now() < end, f"{len(self.came)} of {count} came"
                for key, _ in selector.select(1):
                    self._read(key.fileobj, is_complete)
        return self

    def _read(self, file, is_complete):
        at = now()
        if file is self.asker:
            self.answer += file.recv(65536)
            if self.acknowledged is None and is_complete(self.answer):
                self.acknowledged = at
        else:
            for who in self.runners[file]():
                self.came.setdefault(who, at)

    def latencies(self):
        """In ms, of those that came: (from the acknowledgement, from the question)."""
        times = self.came.values()
        return ([(at - self.acknowledged) * 1000 for at in times],
                [(at - self.asked) * 1000 for at in times])


class Appliers:
    """Tells when each member has given a generation's directory its name."""

    def __init__(self, members):
        self.fd = libc.inotify_init1(IN_NONBLOCK)
        assert self.fd >= 0, os.strerror(ctypes.get_errno())
        self.members = {}
        for member in members:
            path = os.path.join(member.directory, "state", "generations").encode()
            watch = libc.inotify_add_watch(self.fd, path, IN_MOVED_TO)
            assert watch >= 0, f"{path}: {os.strerror(ctypes.get_errno())}"
            self.members[watch] = member.id

    def read(self):
        """[(member, name)]"""
        data, seen = os.read(self.fd, 1 << 20), []
        while data:
            watch, _mask, _cookie, length = struct.unpack_from("iIII", data)
            seen.append((self.members[watch], data[16:16 + length].rstrip(b"\0").decode()))
            data = data[16 + length:]
        return seen

    def swap(self, member, value):
        """Latencies of all nodes, of a change that was made through that one."""
        plan = member.ask(command="config.plan",
                          changes=[{"key": "topology.settle_max_s", "value": str(value)}])
        question = {"command": "config.apply", "plan": plan["plan"], "message": "bench"}
        with member.connect() as sock:
            race = Race(sock, json.dumps(question).encode() + b"\n", {self.fd: self.read})
            race.run(len(self.members), lambda answer: answer.endswith(b"\n"))
        answer = json.loads(race.answer)
        assert answer["ok"], answer
        name = answer["result"]["generation"].rpartition("/")[2]
        wanted = {(member, name) for member in self.members.values()}
        assert wanted == set(race.came), "another generation came meanwhile"
        return race.latencies()

    def close(self):
        os.close(self.fd)


class Floor:
    """Plain watches of one key, spread over the members of etcd as the nodes are."""

    def __init__(self, stage, count):
        self.stage = stage
        addresses = stage.etcd.addresses
        self.watches = [self._open(addresses[i % len(addresses)]) for i in range(count)]
        self.address = addresses[0]
        self.writer = stage.homes[0].inside(lambda: self._connect(self.address))

    @staticmethod
    def _connect(address):
        return socket.create_connection((address, 2379), DEADLINE_S)

    @staticmethod
    def _request(address, path, body):
        text = json.dumps(body)
        return (f"POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {len(text)}\r\n"
                f"\r\n{text}").encode()

    def _open(self, address):
        sock = self.stage.homes[0].inside(lambda: self._connect(address))
        sock.sendall(self._request(address, "/v3/watch",
                                   {"create_request": {"key": encode(FLOOR_KEY)}}))
        reply = b""
        while b'"created":true' not in reply:
            part = sock.recv(65536)
            assert part, f"no watch: {reply}"
            reply += part
        return sock

    @staticmethod
    def _come(sock):
        data = sock.recv(65536)
        assert data, "etcd has ended a watch"
        return [sock] if b'"events"' in data else []

    def measure(self, value):
        """Latencies of all watches."""
        body = {"success": [{"request_put": {"key": encode(FLOOR_KEY), "value": encode(value)}}]}
        race = Race(self.writer, self._request(self.address, "/v3/kv/txn", body),
                    {sock: lambda sock=sock: self._come(sock) for sock in self.watches})
        race.run(len(self.watches), lambda answer: b'"succeeded":true' in answer)
        return race.latencies()

    def close(self):
        for sock in (*self.watches, self.writer):
            sock.close()


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * share))]


def show(what, rounds):
    """Returns the median of the last one's latency."""
    each = [latency for one in rounds for latency in one]
    last = [max(one) for one in rounds]
    print(f"  {what:<36} each p50 {statistics.median(each):8.2f} p99 {percentile(each, 0.99):8.2f}"
          f"   last p50 {statistics.median(last):8.2f} p99 {percentile(last, 0.99):8.2f}   ms")
    return statistics.median(last)


def grow(stage, nodes):
    """By few at a time: it is not the storm that is measured."""
    while len(stage.members) < nodes:
        stage.start(stage.add(min(AT_ONCE, nodes - len(stage.members))))
        stage.until_all_follow(120, stage.members)


def bench(stage, nodes, values):
    grow(stage, nodes)
    appliers, floor = Appliers(stage.members), Floor(stage, nodes)
    swaps, events = [], []
    try:
        for _ in range(ROUNDS):
            swaps.append(appliers.swap(stage.members[0], next(values)))
            stage.until_all_follow(60, stage.members)
            events.append(floor.measure("x" * 250))     # as long as `current`
    finally:
        appliers.close()
        floor.close()
    print(f"{nodes} node{'s' if nodes > 1 else ''}, {ROUNDS} swaps, etcd of {MEMBERS} members")
    for k, since in enumerate(("acknowledged", "asked")):
        event = show(f"{since} -> etcd's event", [one[k] for one in events])
        applied = show(f"{since} -> applied by cmsnoded", [one[k] for one in swaps])
        # An event may come before the answer: then there is nothing to divide by.
        print(f"    the last one's medians: {applied - event:.2f} ms more"
              + (f", ratio {applied / event:.1f}" if since == "asked" else ""), flush=True)


def main():
    reason = crowd.skip_reason()
    if reason:
        print(f"SKIP: {reason}")
        return 0
    signal.signal(signal.SIGTERM, crowd.end_once)
    stage = Crowd(MEMBERS)
    try:
        stage.start(stage.add(1))
        stage.until_all_follow(60, stage.members)
        values = itertools.cycle((31, 32))
        for nodes in [int(word) for word in sys.argv[1:]] or USUAL:
            bench(stage, nodes, values)
    finally:
        stage.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
