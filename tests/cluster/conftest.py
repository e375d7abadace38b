# SPDX-License-Identifier: MIT
"""Fixtures, and the logs of a test that failed."""

import os
import subprocess

import pytest

import fault_scene
from cluster import Cluster

LINES = 40
clusters = []               # of the running test


def why_not():
    if os.geteuid() != 0:
        return "cluster tests need root, for network namespaces"
    for command in (("ip", "netns", "list"), ("unshare", "--net", "true"), ("etcd", "--version")):
        try:
            done = subprocess.run(command, capture_output=True, text=True)
        except FileNotFoundError:
            return f"cluster tests need {command[0]}, see contrib/packages"
        if done.returncode != 0:
            return f"cluster tests: {' '.join(command)}: {done.stderr.strip()}"
    return None


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: left out by contrib/run-tests; make check-faults")


def pytest_terminal_summary(terminalreporter):
    lines = fault_scene.summary()
    if lines:
        terminalreporter.section("from the end of a fault until all was as before")
        terminalreporter.write("\n".join(lines) + "\n")


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
        for cluster in clusters:
            for title, text in cluster.logs().items():
                report.sections.append((title, "\n".join(text.splitlines()[-LINES:])))


def make_cluster():
    cluster = Cluster()
    clusters.append(cluster)
    yield cluster
    cluster.close()
    clusters.remove(cluster)


@pytest.fixture
def new_scene():
    """Makes a scene that this test alone has; arguments as for Scene.build() and of its nodes."""
    scenes = []

    def make(*etcd_options, before_nodes=lambda etcd: None, **settings):
        scenes.append(open_scene(**settings))
        scenes[-1].build(*etcd_options, before_nodes=before_nodes)
        scenes[-1].begin()
        return scenes[-1]
    yield make
    for scene in scenes:
        close_scene(scene)


def open_scene(**settings):
    scene = fault_scene.Scene(**settings)
    clusters.append(scene.cluster)
    return scene


def close_scene(scene):
    scene.close()
    clusters.remove(scene.cluster)


class Stage:
    """One scene for the tests of a file; after one that did not leave it sound, a new one."""

    def __init__(self):
        self.scene = None

    def get(self):
        if not self.scene:
            self.scene = open_scene()
            self.scene.build()
        return self.scene

    def clear(self):
        if self.scene:
            close_scene(self.scene)
            self.scene = None


@pytest.fixture(scope="module")
def stage():
    stage = Stage()
    yield stage
    stage.clear()


@pytest.fixture
def scene(stage):
    scene = stage.get()
    scene.begin()
    yield scene
    if not scene.is_sound:
        stage.clear()


@pytest.fixture
def cluster():
    yield from make_cluster()


@pytest.fixture(scope="module")
def module_cluster():
    yield from make_cluster()
