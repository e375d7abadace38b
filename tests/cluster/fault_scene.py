# SPDX-License-Identifier: MIT
"""
The scene of the fault tests: three etcd members and three nodes, each on a
host of its own, and what has to hold after every fault, whatever it was:

* every unit is the same process as before, and none was restarted;
* all nodes are well, on the generation that etcd calls current;
* a change made afterwards reaches all of them;
* below configs/ there is only the current generation and what its meta lists
  as kept.

The time from the end of the fault until all that is true is told at the end of
the run; it is never a condition.
"""

import itertools
import json
import time

from cluster import Cluster
from node import coord, is_well
from waiting import until

JOIN_S = 90                 # the first node waits 15 s before it believes that the store is new
RECOVER_S = 90
# As an operator should have it: 10 minutes by default.
ETCD_OPTIONS = ("--experimental-watch-progress-notify-interval=5s",)
# Without names a newcomer restarts who dials it, and AdminWebServer dials everybody's
# ResourceService: left out, so that nothing at all may restart here.
ROLES = {"a": "LogService,ScoringService,EvaluationService,ProxyService",
         "b": "worker:2,contest-web", "c": "worker:2"}

recoveries = []             # [(what happened, seconds)] of this run
numbers = itertools.count(31)


class Scene:
    def __init__(self, **settings):
        self.cluster = Cluster()
        self.settings = settings
        self.is_sound = True
        self.units = {}
        self.member = 0         # that is asked for what etcd holds

    def build(self, *etcd_options, before_nodes=lambda etcd: None):
        members = [self.cluster.host(f"m{i}") for i in range(3)]
        self.etcd = self.cluster.start_etcd(*members, options=(*ETCD_OPTIONS, *etcd_options))
        before_nodes(self.etcd)
        for name, role in ROLES.items():
            self.add_node(name, role)
        until(JOIN_S, self.everybody_has_work, "two Workers on B and C")
        self.cluster.wait_until_well(JOIN_S)

    def add_node(self, name, role):
        return self.cluster.node(self.cluster.host(name), name, role=role, **self.settings)

    def everybody_has_work(self):
        return all(sum(unit.startswith("Worker,") for unit in node.services()) == 2
                   for node in self.nodes[1:3])

    @property
    def nodes(self):
        return self.cluster.nodes

    def close(self):
        self.cluster.close()

    # ---- what runs ---------------------------------------------------------------

    def running(self):
        """{(node, service): (pid, restarts)}; the daemon itself is its node's ResourceService."""
        return {(node.name, coord(entry)): (entry["pid"], entry["restarts"])
                for node in self.nodes for entry in node.status()["services"]}

    def begin(self):
        """What runs now shall run in the end."""
        self.is_sound = False
        self.member = 0
        self.units = self.running()

    def expect_same_units(self, besides=()):
        now = self.running()
        assert {unit: now.get(unit) for unit in self.units if unit not in besides} == \
            {unit: was for unit, was in self.units.items() if unit not in besides}

    # ---- what is agreed ------------------------------------------------------------

    def keys(self, prefix="/cms/"):
        """{key: value}, as soon as etcd has somebody to say it."""
        def look():
            try:
                return (self.etcd.keys(prefix, self.member),)
            except OSError as error:
                raise AssertionError(f"etcd: {error}") from None
        return until(RECOVER_S, look, "an answer of etcd")[0]

    def current(self):
        """The object under `current`; None if there is none."""
        text = self.keys("/cms/current").get("/cms/current")
        return json.loads(text) if text else None

    def expect_no_orphans(self):
        keys = self.keys()
        current = json.loads(keys["/cms/current"])["generation"]
        kept = json.loads(keys[f"/cms/{current}/meta"])["kept"]
        found = {"/".join(key.split("/")[2:4]) for key in keys if key.startswith("/cms/configs/")}
        assert found == {current, *(f"configs/{generation['name']}" for generation in kept)}

    def expect_agreement(self):
        """All nodes well, and on what etcd calls current."""
        statuses = {node.name: node.status() for node in self.nodes}
        for node in self.nodes:
            assert is_well(statuses[node.name]), f"{node.name}:\n{node.ctl('status')[1]}"
        assert {status["config"]["applied"] for status in statuses.values()} == \
            {self.current()["generation"]}

    def change(self, node, deadline_s=RECOVER_S):
        """A change that no unit reads, tried until it is agreed."""
        key, number = "topology.settle_max_s", next(numbers)

        def try_it():
            node.change(f"{key}={number}")
            return True
        until(deadline_s, try_it, f"a change made on {node.name}")
        return number

    def expect_change(self, number, nodes):
        """These nodes have applied it: True, for until()."""
        for node in nodes:
            status, output = node.ctl("config", "get", "topology.settle_max_s")
            assert (status, output.strip()) == (0, str(number)), f"{node.name}: {output}"
        return True

    def change_reaches(self, node, nodes, deadline_s=RECOVER_S):
        """A change made on `node` reaches `nodes`; its number."""
        number = self.change(node, deadline_s)
        until(deadline_s, lambda: self.expect_change(number, nodes),
              f"change {number} of {node.name} on all of these nodes")
        return number

    # ---- the end of each test --------------------------------------------------------

    def recover(self, what, since, besides=()):
        """since: clock() when the fault ended. `besides`: units that may be others now."""
        number = self.change(self.nodes[-1])

        def look():
            self.expect_agreement()
            return self.expect_change(number, self.nodes)
        until(RECOVER_S, look, f"recovered from: {what}")
        recoveries.append((what, clock() - since))
        self.expect_same_units(besides)
        self.expect_no_orphans()
        self.is_sound = True


def clock():
    return time.monotonic()


def summary():
    """Lines for a person."""
    width = max((len(what) for what, _ in recoveries), default=0)
    return [f"{what:<{width}}  {seconds:6.1f} s" for what, seconds in recoveries]
