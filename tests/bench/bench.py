#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Supervision benchmarks: the daemon beside a bare C loop, in one run, as ratios.

`make bench` runs it. Nothing is asserted: machines are noisy, the reader judges.
  respawn  kill -9 of a unit that ran -> its replacement was executed
  start    the supervisor's own start -> all units were executed
"""
import os
import pathlib
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time

BUILD = pathlib.Path(os.environ.get("BENCH_BUILD_DIR", ".")).resolve()
UNITS = int(os.environ.get("BENCH_UNITS", "32"))
ROUNDS = int(os.environ.get("BENCH_ROUNDS", "4"))  # one respawn per unit and round


class Fleet:
    """Units of one supervisor, heard through a datagram socket."""

    def __init__(self, name, base):
        self.name = name
        self.dir = base / name
        self.dir.mkdir()
        shutil.copy(BUILD / "tests/bench/bench_unit", self.dir / "cmsWorker")
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(self.dir / "socket"))
        self.socket.settimeout(20)
        self.process = None
        self.pids = {}
        self.respawns = []

    def hear(self):
        shard, pid, stamp = self.socket.recv(256).decode().split()
        self.pids[int(shard)] = int(pid)
        return int(shard), float(stamp)

    def start(self, argv):
        begin = time.monotonic()
        self.process = subprocess.Popen(argv, stderr=subprocess.DEVNULL)
        last = begin
        for _ in range(UNITS):
            last = max(last, self.hear()[1])
        return (last - begin) * 1000

    def respawn(self, shard):
        begin = time.monotonic()
        os.kill(self.pids[shard], signal.SIGKILL)
        heard, stamp = self.hear()
        assert heard == shard, f"{self.name}: {heard} was started again, not {shard}"
        self.respawns.append((stamp - begin) * 1000)

    def stop(self):
        self.process.terminate()
        self.process.wait(20)
        for pid in self.pids.values():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.socket.close()


def write_configuration(path):
    workers = ",".join(f'["127.0.0.1", {26000 + k}]' for k in range(UNITS))
    path.write_text(
        "[services]\n"
        # Documentation addresses (RFC 5737): nobody here, so only Workers run.
        + "".join(f'{name} = [["203.0.113.1", {port}]]\n' for name, port in (
            ("LogService", 29000), ("EvaluationService", 25000), ("ScoringService", 28500)))
        + f"Worker = [{workers}]\n"
        + '[database]\nurl = "postgresql+psycopg2://cmsuser@localhost/cmsdb"\n')


def row(name, samples):
    samples = sorted(samples)
    p99 = samples[min(len(samples) - 1, int(len(samples) * 0.99))]
    print(f"  {name:<10} median {statistics.median(samples):7.3f} ms   p99 {p99:7.3f} ms   n {len(samples)}")


def main():
    with tempfile.TemporaryDirectory(prefix="cmsnode-bench-") as tmp:
        base = pathlib.Path(tmp)
        write_configuration(base / "cms.toml")
        ours, bare = Fleet("cmsnoded", base), Fleet("bare", base)
        starts = {ours: [], bare: []}
        commands = {
            ours: [str(BUILD / "cmsnoded"), "--standalone", str(base / "cms.toml"), "--cms-bin", str(ours.dir),
                   "--state-dir", str(base / "state"), "--run-dir", str(base / "run")],
            bare: [str(BUILD / "tests/bench/bench_bare"), str(UNITS), str(bare.dir / "cmsWorker")],
        }
        try:
            for repeat in range(5):
                for fleet in (bare, ours):
                    starts[fleet].append(fleet.start(commands[fleet]))
                    if repeat < 4:
                        fleet.process.terminate()
                        fleet.process.wait(20)
                        for pid in fleet.pids.values():
                            try:
                                os.kill(pid, signal.SIGKILL)
                            except ProcessLookupError:
                                pass
            for _ in range(ROUNDS):
                time.sleep(1.3)  # a unit that ran at least 1 s is started again at once
                for shard in range(UNITS):
                    for fleet in (bare, ours):
                        fleet.respawn(shard)
        finally:
            for fleet in (ours, bare):
                if fleet.process:
                    fleet.stop()
    print(f"{UNITS} units, kill -9 of a unit that ran -> replacement executed")
    row("bare loop", bare.respawns)
    row("cmsnoded", ours.respawns)
    pairs = [a / b for a, b in zip(ours.respawns, bare.respawns)]
    print(f"  ratio of medians {statistics.median(ours.respawns) / statistics.median(bare.respawns):.2f}, "
          f"median of paired ratios {statistics.median(pairs):.2f}")
    print(f"start -> all {UNITS} units executed")
    row("bare loop", starts[bare])
    row("cmsnoded", starts[ours])
    print(f"  ratio of medians {statistics.median(starts[ours]) / statistics.median(starts[bare]):.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
