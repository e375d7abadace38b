#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Network benchmarks: our monitor beside the program `ip`, in one run.

`make bench` runs it, in a network namespace of its own; it wants root. Nothing is asserted.
  dump     what one look at ADDRESSES addresses costs, beside `ip addr show` (which prints them too)
  events   CPU for CHANGES changes of addresses while watching, beside `ip monitor`
  idle     CPU of IDLE_S seconds with nothing to do, beside `ip monitor`
"""
import os
import pathlib
import resource
import subprocess
import sys
import tempfile
import time

BUILD = pathlib.Path(os.environ.get("BENCH_BUILD_DIR", ".")).resolve()
PROGRAM = str(BUILD / "tests/bench/bench_netlink")
ADDRESSES = int(os.environ.get("BENCH_ADDRESSES", "10000"))
CHANGES = int(os.environ.get("BENCH_CHANGES", "20000"))
IDLE_S = float(os.environ.get("BENCH_IDLE_S", "60"))
ROUNDS = 20


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True)


def batch(lines):
    """Runs them; seconds."""
    with tempfile.NamedTemporaryFile("w", suffix=".ip") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        begin = time.monotonic()
        ip("-batch", file.name)
        return time.monotonic() - begin


def address(i, prefix=32):
    return f"10.{100 + i // 40000}.{i // 200 % 200}.{i % 200 + 1}/{prefix}"


def cpu_of(argv):
    """CPU seconds of the program, its output thrown away."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime - before.ru_utime) + (after.ru_stime - before.ru_stime)


def values(line):
    words = line.split()
    return dict(zip(words[::2], map(float, words[1::2])))


class Watchers:
    """Both at once, so that they see the same events."""

    def __init__(self):
        self.ours = subprocess.Popen([PROGRAM, "watch"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                     text=True)
        assert self.ours.stdout.readline() == "ready\n"
        self.ip = subprocess.Popen(["ip", "monitor", "link", "address", "route"],
                                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(0.5)     # it does not tell when it is ready

    def stop(self):
        """(values of ours, CPU seconds of `ip monitor`)"""
        self.ours.stdin.close()
        ours = values(self.ours.stdout.readline())
        self.ours.wait()
        if self.ip.poll() is None:
            self.ip.terminate()
        _, _, usage = os.wait4(self.ip.pid, 0)
        self.ip.returncode = 0
        return ours, usage.ru_utime + usage.ru_stime


def show(name, seconds, what=""):
    print(f"  {name:<24} {seconds * 1000:10.3f} ms CPU{what}")


def bench_dump(addresses):
    ours = values(subprocess.run([PROGRAM, "snapshot", str(ROUNDS)], check=True, text=True,
                                 capture_output=True).stdout)
    reference = sum(cpu_of(["ip", "addr", "show"]) for _ in range(ROUNDS)) / ROUNDS
    print(f"one look at {addresses} addresses ({ours['addresses']:.0f} with loopback)")
    show("ip addr show", reference)
    show("links, addresses, routes", ours["dump_cpu"])
    show("choice of an address", ours["choose_cpu"])
    print(f"  ratio of a look {ours['dump_cpu'] / max(reference, 1e-6):.2f}")
    return ours["dump_cpu"]


def bench_events():
    watchers = Watchers()
    adds = [f"addr add {address(i)} dev br0" for i in range(CHANGES // 2)]
    took = batch(adds + [line.replace(" add ", " del ") for line in adds])
    end = time.monotonic()
    time.sleep(2)           # the debounce, and its last look
    ours, reference = watchers.stop()
    print(f"{CHANGES} changes of addresses, made in {took:.2f} s ({CHANGES / took:.0f} a second)")
    show("ip monitor", reference, f", {CHANGES / max(reference, 1e-6):9.0f} changes per second of CPU")
    show("monitor", ours["cpu"], f", {CHANGES / max(ours['cpu'], 1e-6):9.0f} changes per second of CPU")
    print(f"  {ours['changes']:.0f} snapshots told, the last {(ours['last_change'] - end) * 1000:.0f} ms "
          f"after the last change; {ours['turns']:.0f} turns of the loop; "
          f"{ours['rss_kb'] / 1024:.1f} MB resident at most")


def bench_idle(addresses, dump_cpu):
    watchers = Watchers()
    time.sleep(IDLE_S)
    ours, reference = watchers.stop()
    print(f"{IDLE_S:.0f} s with {addresses} idle addresses")
    show("ip monitor", reference, "  (with its start)")
    show("monitor", ours["cpu"], f"  ({ours['turns']:.0f} turns of the loop; every 300 s a look of "
                                 f"{dump_cpu * 1000:.1f} ms)")


def main():
    if os.geteuid() != 0:
        print("SKIP: the network benchmarks need root, for a network namespace")
        return 0
    if "--inside" not in sys.argv:
        os.execvp("unshare", ["unshare", "--net", sys.executable, __file__, "--inside"])
    ip("link", "set", "lo", "up")
    ip("link", "add", "br0", "type", "bridge")
    ip("link", "set", "br0", "up")
    bench_dump(0)
    bench_events()
    batch([f"addr add {address(i)} dev br0" for i in range(ADDRESSES)])
    bench_idle(ADDRESSES, bench_dump(ADDRESSES))
    return 0


if __name__ == "__main__":
    sys.exit(main())
