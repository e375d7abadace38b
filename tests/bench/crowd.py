# SPDX-License-Identifier: MIT
"""
A crowd of real cmsnoded, for benchmarks: each with an address of its own on its
namespace's one interface and machine facts of its own, so that each is a host to
the others; none with a role, so no unit runs. AT_HOME of them share a namespace:
a node lists all addresses that it sees. etcd is real, with three members.
Everything is in network namespaces of its own.
"""

import itertools
import json
import os
import re
import resource
import shutil
import signal
import socket
import sys
import tempfile
import time
import urllib.request
import uuid

CLUSTER = os.path.join(os.path.dirname(os.path.dirname(os.path.realpath(__file__))), "cluster")
sys.path.insert(0, CLUSTER)

# pylint: disable=wrong-import-position
from cluster import Cluster                         # noqa: E402
from network import ip, write                       # noqa: E402
from node import DEMO, find_program                 # noqa: E402
from process import Process                         # noqa: E402
from waiting import Hopeless, until                 # noqa: E402

AT_HOME = 25
LOOK_S = 0.3
TICKS = os.sysconf("SC_CLK_TCK")


def skip_reason():
    if os.geteuid() != 0:
        return "these benchmarks need root, for network namespaces"
    missing = [name for name in ("ip", "etcd") if not shutil.which(name)]
    return f"these benchmarks need {missing[0]}, see contrib/packages" if missing else None


def end_once(_signal, _frame):
    """For SIGTERM: ends, and nothing interrupts the cleaning up."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    sys.exit(1)


def address_of(i):
    return f"10.78.{i // 250}.{i % 250 + 1}"


def cpu_s(pid):
    """User and system time that the process has used; 0 if it has ended."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as file:
            fields = file.read().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS


class Member:
    """One cmsnoded of the crowd."""

    def __init__(self, crowd, i):
        self.id, self.home = f"n{i:03d}", crowd.home(i)
        self.directory = os.path.join(self.home.directory, self.id)
        self.address = address_of(i)
        facts = os.path.join(self.directory, "facts")
        write(f"{facts}/proc/sys/kernel/random/boot_id", f"{uuid.uuid4()}\n")
        write(f"{facts}/sys/class/dmi/id/product_uuid", f"{uuid.uuid4()}\n")
        write(f"{facts}/etc/hostname", f"{self.id}\n")
        self.run_dir = os.path.join(self.directory, "run")
        settings = {
            "config": crowd.settings_file, "etcd": crowd.etcd.urls, "node-id": self.id,
            "address": self.address, "facts-root": facts, "run-dir": self.run_dir,
            "state-dir": os.path.join(self.directory, "state"), "cms-bin": DEMO, "user": "root",
            "names": "off", "seed-config": crowd.seed if i == 0 else None}
        self.command = [find_program("cmsnoded"),
                        *(f"--{key}={value}" for key, value in settings.items() if value)]
        self.process = None

    def start(self):
        self.process = Process(self.command, os.path.join(self.directory, "log"))

    def connect(self):
        """To the control socket."""
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        sock.connect(os.path.join(self.run_dir, "control.sock"))
        return sock

    def ask(self, **request):
        """The result of one request on the control socket."""
        with self.connect() as sock:
            sock.sendall(json.dumps(request).encode() + b"\n")
            with sock.makefile("rb") as stream:
                answer = json.loads(stream.readline())
        assert answer["ok"], answer
        return answer["result"]

    def counters(self):
        return self.ask(command="status", cluster=False)["store"]["counters"]


def by_home(members):
    """[(host, its members)]; they come in order."""
    return [(home, list(group))
            for home, group in itertools.groupby(members, lambda member: member.home)]


class Crowd:
    def __init__(self, members_of_etcd=3):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 65536)), hard))
        self.cluster = Cluster()
        try:
            self._build(members_of_etcd)
        except BaseException:
            self.close()
            raise

    def _build(self, members_of_etcd):
        stores = [self.cluster.host(f"store{k}") for k in range(members_of_etcd)]
        self.etcd = self.cluster.start_etcd(*stores)
        self.seed = self.cluster.configuration()
        self.settings_file = os.path.join(self.cluster.directory, "cmsnoded.toml")
        write(self.settings_file, "")
        self.homes, self.members = [], []

    def home(self, i):
        while i // AT_HOME >= len(self.homes):
            self.homes.append(self.cluster.host(f"crowd{len(self.homes)}"))
        return self.homes[i // AT_HOME]

    def add(self, count):
        """Makes that many more, not started; the first one of all has the seed."""
        first = len(self.members)
        added = [Member(self, first + k) for k in range(count)]
        for home, members in by_home(added):
            with tempfile.NamedTemporaryFile("w", suffix=".ip") as file:
                file.writelines(f"addr add {member.address}/16 dev eth0\n" for member in members)
                file.flush()
                ip("-n", home.namespace, "-batch", file.name)
        self.members += added
        return added

    def start(self, members):
        """All of them, as fast as this machine forks."""
        for home, at_home in by_home(members):
            home.inside(lambda at_home=at_home: [member.start() for member in at_home])

    def running(self):
        return [member for member in self.members
                if member.process and member.process.is_running()]

    # ---- what the store shows ------------------------------------------------

    def current(self):
        """The value of `current`; None if there is none."""
        text = self.etcd.keys("/cms/current").get("/cms/current")
        return json.loads(text) if text else None

    def behind(self, members):
        """
        {id: why} of these that have not applied the generation in force, or that it shows
        otherwise than present; and of others that it shows as present.
        """
        current = self.current()
        assert current, "nothing is agreed"
        name, wanted = current["generation"], {member.id for member in members}
        key = f"/cms/{name}/topology/nodes"
        nodes = json.loads(self.etcd.keys(key)[key])
        present = {node for node, entry in nodes.items() if entry["state"] == "present"}
        why = {node: f"{name} shows it as present" for node in present - wanted}
        why.update((node, f"{name} does not show it as present") for node in wanted - present)
        if why:
            return why
        applied = {key.rpartition("/")[2]: json.loads(value)["config"]["applied"]
                   for key, value in self.etcd.keys("/cms/status/").items()}
        for node in wanted:
            if applied.get(node) != name:
                why[node] = f"has applied {applied.get(node)}, not {name}"
        return why

    def until_all_follow(self, deadline_s, members):
        """Looks a few times a second only: a look is work for etcd too."""
        next_look = [now()]

        def look():
            for member in members:
                if not member.process.is_running():
                    raise Hopeless(f"{member.id} ended with {member.process.child.returncode}: "
                                   f"{member.process.log()[-1000:]}")
            if now() < next_look[0]:
                return False
            next_look[0] = now() + LOOK_S
            try:
                behind = self.behind(members)
            except OSError as error:
                raise AssertionError(f"etcd does not answer: {error}") from None
            assert not behind, f"{len(behind)} are not well: {sorted(behind.items())[:3]}"
            return True
        return until(deadline_s, look, f"{len(members)} nodes follow one generation")

    def renewals(self):
        """Lease renewals that etcd has answered so far, by all members."""
        total = 0
        for i, address in enumerate(self.etcd.addresses):
            def read(address=address):
                with urllib.request.urlopen(f"http://{address}:2379/metrics", timeout=10) as text:
                    return text.read().decode()
            for line in self.etcd.hosts[i].inside(read).splitlines():
                if re.match(r'grpc_server_started_total\{grpc_method="LeaseKeepAlive"', line):
                    total += int(float(line.split()[-1]))
        return total

    def etcd_cpu_s(self):
        return sum(cpu_s(member.pid) for member in self.etcd.members)

    def close(self):
        self.cluster.close()
        for member in getattr(self, "members", []):
            if member.process:
                member.process.kill()


def now():
    return time.monotonic()
