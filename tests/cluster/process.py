# SPDX-License-Identifier: MIT
"""A program started by a test: its output in a file, ended by its pid."""

import os
import signal
import subprocess

from waiting import until

# The settings of what is started are those that the test gives.
FOREIGN = ("CMSNODE_", "CMS_", "ETCD_", "ETCDCTL_")


def clean_environment(**more):
    kept = {key: value for key, value in os.environ.items() if not key.startswith(FOREIGN)}
    return {**kept, **more}


class Process:
    def __init__(self, command, log_path, **environment):
        self.log_path = log_path
        os.makedirs(os.path.dirname(log_path), exist_ok=True)
        with open(log_path, "ab") as log:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                          env=clean_environment(**environment),
                                          start_new_session=True)

    @property
    def pid(self):
        return self.child.pid

    def is_running(self):
        return self.child.poll() is None

    def signal(self, number):
        if self.is_running():
            self.child.send_signal(number)

    def wait(self, deadline_s):
        """Its exit status (negative: a signal)."""
        until(deadline_s, lambda: not self.is_running(), f"the end of pid {self.pid}")
        return self.child.returncode

    def stop(self, deadline_s=20):
        self.signal(signal.SIGTERM)
        return self.wait(deadline_s)

    def kill(self):
        self.signal(signal.SIGKILL)
        self.child.wait()

    def log(self):
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            return log.read()
