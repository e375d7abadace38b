# SPDX-License-Identifier: MIT
"""
Two hosts with a Docker Engine each, shared by all tests; the harness is that of
tests/cluster. Needs root and the packages marked "docker" in contrib/packages.
"""

import os
import shutil
import subprocess
import sys
import tempfile

import pytest

sys.path.insert(1, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "cluster"))

import image                                # pylint: disable=wrong-import-position
from cluster import Cluster                 # pylint: disable=wrong-import-position
from container import Container             # pylint: disable=wrong-import-position
from engine import Engine, unmount_below    # pylint: disable=wrong-import-position

LINES = 40
TOOLS = ("dockerd", "containerd", "runc", "debootstrap", "socat", "etcd", "nsenter", "ip")
sites = []                  # of this run: none or one


def why_not():
    if os.geteuid() != 0:
        return "docker tests need root, for network namespaces and dockerd"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if "DOCKER_BASE_TREE" in os.environ and "debootstrap" in missing:
        missing.remove("debootstrap")
    if missing:
        return f"docker tests need {', '.join(missing)}, see contrib/packages"
    if not image.is_debian_12():
        return "docker tests put what was built here into an image of Debian 12"
    done = subprocess.run(("unshare", "--net", "true"), capture_output=True, text=True)
    return f"docker tests: {done.stderr.strip()}" if done.returncode != 0 else None


def pytest_collection_modifyitems(items):
    reason = why_not()
    if reason:
        print(f"SKIP: {reason}")
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport():
    outcome = yield
    report = outcome.get_result()
    if report.failed:
        for site in sites:
            for title, text in site.logs().items():
                report.sections.append((title, "\n".join(text.splitlines()[-LINES:])))


class Site(Cluster):
    """etcd on one host; engines on two others."""

    def __init__(self):
        self.engines = {}
        super().__init__()

    def build(self, file):
        self.image = f"cmsnode-test-{self.network.suffix}"
        self.start_etcd(self.host("store"))
        for name in ("a", "b"):
            engine = self.engines[name] = Engine(self.host(name))
            engine.start()
            engine.add_image(file, self.image)

    def create(self, host, name, **settings):
        """A container on the host of that name, not started yet; to be ended by its test."""
        settings.setdefault("etcd", self.etcd.urls)
        container = Container(self.engines[host], self.image, name, **settings)
        self.nodes.append(container)
        container.create()
        return container

    def run(self, host, name, **settings):
        container = self.create(host, name, **settings)
        container.start()
        return container

    def forget(self, *containers):
        """Removes them with what they kept, as far as no other container uses it."""
        for container in containers:
            container.engine.ask("rm", "--force", container.name)
            container.engine.ask("volume", "rm", container.volume)
            self.nodes.remove(container)

    def logs(self):
        texts = super().logs()
        for engine in self.engines.values():
            texts.update(engine.logs())
        return texts

    def close(self):
        for engine in self.engines.values():
            engine.close()
        super().close()


@pytest.fixture(scope="session")
def image_file():
    directory = tempfile.mkdtemp(prefix="cn-image-")
    try:
        yield image.build(directory)
    finally:
        unmount_below(directory)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="session")
def site(image_file):       # pylint: disable=redefined-outer-name
    made = Site()
    sites.append(made)
    try:
        made.build(image_file)
        yield made
    finally:
        made.close()
        sites.remove(made)
