# SPDX-License-Identifier: MIT
"""
The image under test: a small Debian 12 with the libraries that cmsnoded needs,
the programs just built, and the demonstration services. No registry is asked.
Debian comes from debootstrap; or from DOCKER_BASE_TREE, a directory made before
by `image.py DIRECTORY`, which is only read and saves a minute each run.
"""

import os
import shutil
import subprocess
import sys

sys.path.insert(1, os.path.join(os.path.dirname(os.path.realpath(__file__)), "..", "cluster"))

from node import DEMO, find_program         # pylint: disable=wrong-import-position

SUITE = "bookworm"
PACKAGES = ("libnl-3-200", "libnl-route-3-200", "libcurl4", "libev4", "libcjson1", "libssl3",
            "python3", "iproute2", "procps")
# Half of the tree, and read by nobody here; vfs copies the image for each container.
LEFT_OUT = ("usr/share/doc", "usr/share/locale", "usr/share/man", "usr/share/info",
            "var/cache/apt", "var/lib/apt/lists", "dev", "proc", "sys")
DEMO_BIN = "/usr/local/lib/cms-demo"
# As DEMO_BIN, but each Worker leaves two processes behind that only PID 1 can bury.
ORPHANS_BIN = "/usr/local/lib/cms-orphans"
ORPHANS = f"""#!/bin/sh
(sleep 1.5 &)
(setsid sleep 1.5 &)
exec {DEMO_BIN}/cmsWorker "$@"
"""
OURS = ("usr/local/sbin/cmsnoded", "usr/local/bin/cmsnodectl", DEMO_BIN[1:], ORPHANS_BIN[1:])


def is_debian_12():
    try:
        with open("/etc/os-release", encoding="utf-8") as file:
            return f"VERSION_CODENAME={SUITE}\n" in file.readlines()
    except FileNotFoundError:
        return False


def mirror():
    """DEBIAN_MIRROR, else where this machine's own packages come from."""
    given = os.environ.get("DEBIAN_MIRROR")
    if given:
        return given
    done = subprocess.run(("apt-get", "indextargets", "--format", "$(SITE)",
                           "Created-By: Packages", f"Codename: {SUITE}"),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    sites = done.stdout.split()
    assert done.returncode == 0 and sites, \
        f"apt knows no source of {SUITE}; name one in DEBIAN_MIRROR: {done.stdout}"
    return sites[0]


def make_base(directory):
    """A Debian tree in `directory`, which must not exist."""
    done = subprocess.run(
        ("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", SUITE, directory,
         mirror()), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, f"debootstrap: status {done.returncode}: {done.stdout[-2000:]}"


def add_programs(root):
    """What is ours, below `root`."""
    def place(folder):
        path = root + folder
        os.makedirs(path)
        return path
    shutil.copy2(find_program("cmsnoded"), place("/usr/local/sbin"))
    shutil.copy2(find_program("cmsnodectl"), place("/usr/local/bin"))
    shutil.copytree(DEMO, root + DEMO_BIN, ignore=shutil.ignore_patterns("__pycache__"))
    worker = os.path.join(place(ORPHANS_BIN), "cmsWorker")
    with open(worker, "w", encoding="utf-8") as file:
        file.write(ORPHANS)
    os.chmod(worker, 0o755)


def tar(*arguments):
    subprocess.run(("tar", "--numeric-owner", *arguments), check=True)


def build(directory):
    """The image as a tar file in `directory`, for `docker import`."""
    base = os.environ.get("DOCKER_BASE_TREE")
    ours, file = os.path.join(directory, "ours"), os.path.join(directory, "image.tar")
    add_programs(ours)          # first: it fails at once if nothing was built
    if not base:
        base = os.path.join(directory, "debian")
        make_base(base)
    tar("-C", base, "-cf", file, *(f"--exclude=./{path}/*" for path in LEFT_OUT), ".")
    # No directory that the base has too: docker import wants each path once.
    tar("-C", ours, "-rf", file, *(f"./{path}" for path in OURS))
    shutil.rmtree(ours)
    if base.startswith(directory):
        shutil.rmtree(base)
    return file


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: image.py DIRECTORY    (which must not exist)")
    make_base(os.path.abspath(sys.argv[1]))
