#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
storm.py [NODES...]: real cmsnoded join at once, and half of them leave at once,
half of that half by SIGTERM and the rest by SIGKILL; against a real etcd of three
members, all on this machine. `make bench-storm` runs it with 50, 200 and 500 nodes;
it wants root. Ends with 1 when a target is missed: nobody failed, at most 12 requests
a node to join (renewals of leases left aside, which count the time), at most 3
generations. BENCH_ETCD_MEMBERS=1 takes one member of etcd.
"""

import os
import signal
import sys

import crowd
from crowd import Crowd, Hopeless, now, until

REQUESTS_MAX, GENERATIONS_MAX = 12, 3
USUAL = (50, 200, 500)
MEMBERS = int(os.environ.get("BENCH_ETCD_MEMBERS", "3"))
QUIET_S = 12                # longer than anybody waits to fold for others
COLUMNS = (("move", 6), ("nodes", 6), ("requests", 9), ("most", 5), ("renewals", 9), ("gens", 5),
           ("conflicts", 10), ("failures", 9), ("took s", 8), ("kB sent", 8), ("kB read", 9),
           ("etcd CPU s", 11), ("failed", 7))


def show(row):
    print("".join(f"{value:>{width}}" for value, (_, width) in zip(row, COLUMNS)), flush=True)


class Toll:
    """What a move costs those that live at its end."""

    def __init__(self, stage, members):
        self.stage, self.members = stage, members
        self.before = {member.id: member.counters() for member in members if member.process}
        self.renewals = stage.renewals()
        self.sequence = stage.current()["sequence"]
        self.etcd_cpu_s = stage.etcd_cpu_s()
        self.start = now()

    def sums(self):
        """{counter: of all}, and the most requests of one."""
        differences = []
        for member in self.members:
            before = self.before.get(member.id, {})
            differences.append({name: value - before.get(name, 0)
                                for name, value in member.counters().items()})
        return ({name: sum(one[name] for one in differences) for name in differences[0]},
                max(one["requests"] for one in differences))

    def count_failed(self):
        try:
            return len(self.stage.behind(self.members)) or 1
        except OSError:             # etcd does not answer: nobody can be well
            return len(self.members)

    def end(self, move, movers, deadline_s):
        """Waits until all is well, prints the row; true if the targets were met."""
        failed, text = 0, ""
        try:
            self.stage.until_all_follow(deadline_s, self.members)
        except (AssertionError, Hopeless) as error:
            failed, text = self.count_failed(), str(error)
        took_s = now() - self.start
        renewals = self.stage.renewals() - self.renewals
        sums, most = self.sums()
        etcd_cpu_s = self.stage.etcd_cpu_s() - self.etcd_cpu_s
        end = now() + QUIET_S
        until(QUIET_S + 1, lambda: now() >= end, "a while")
        generations = self.stage.current()["sequence"] - self.sequence
        nodes = len(self.members)
        requests = (sums["requests"] - renewals) / nodes
        show((move, movers, f"{requests:.2f}", most, f"{renewals / nodes:.2f}", generations,
              sums["conflicts"], sums["failures"], f"{took_s:.2f}",
              f"{sums['bytes_sent'] / nodes / 1000:.1f}",
              f"{sums['bytes_received'] / nodes / 1000:.1f}", f"{etcd_cpu_s:.2f}", failed))
        if text:
            print(f"  {text}")
        met = not failed and generations <= GENERATIONS_MAX and requests <= REQUESTS_MAX
        if not met:
            print("  MISSED: a target")
        return met


def storm(nodes):
    stage = Crowd(MEMBERS)
    try:
        first = stage.add(1)
        stage.start(first)
        stage.until_all_follow(60, first)
        newcomers = stage.add(nodes)
        toll = Toll(stage, stage.members)
        stage.start(newcomers)
        started_s = now() - toll.start
        met = toll.end("join", nodes, 60 + nodes / 2)
        print(f"  {nodes} processes were started within {started_s:.2f} s")

        leavers = newcomers[::2]
        stayers = [member for member in stage.members if member not in leavers]
        toll = Toll(stage, stayers)
        for i, member in enumerate(leavers):
            member.process.signal(signal.SIGTERM if i % 2 == 0 else signal.SIGKILL)
        met = toll.end("leave", len(leavers), 90 + nodes / 2) and met
        for i, member in enumerate(leavers):
            if i % 2 == 0 and member.process.wait(30) != 0:
                print(f"  MISSED: {member.id} ended with {member.process.child.returncode}")
                met = False
        return met
    finally:
        stage.close()


def main():
    reason = crowd.skip_reason()
    if reason:
        print(f"SKIP: {reason}")
        return 0
    signal.signal(signal.SIGTERM, crowd.end_once)
    print(f"real nodes come at once, then half of them go at once; etcd has {MEMBERS} members here; "
          "a node that stays or came:")
    show([name for name, _ in COLUMNS])
    met = [storm(nodes) for nodes in [int(word) for word in sys.argv[1:]] or USUAL]
    return 0 if all(met) else 1


if __name__ == "__main__":
    sys.exit(main())
