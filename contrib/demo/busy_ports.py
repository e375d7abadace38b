# SPDX-License-Identifier: MIT
"""
busy_ports.py FILE: of the ports that the services of this cms.toml or cms.conf
would bind on this machine, those that somebody has already, as lines
"PORT WHAT". Addresses of other machines are passed over.
"""

import errno
import os
import socket
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))

import demo_service


def places(config):
    """(host, port, what) of everything that would listen."""
    for name, entries in config.services.items():
        if name != "TelegramBot":
            for shard, (host, port) in enumerate(entries):
                yield host, port, f"{name},{shard}"
    for shard in config.shards("ContestWebServer"):
        hosts = config.get("contest_web_server", "listen_address")
        ports = config.get("contest_web_server", "listen_port")
        if shard < min(len(hosts), len(ports)):
            yield hosts[shard], ports[shard], f"the pages of ContestWebServer,{shard}"
    for name, table in (("AdminWebServer", "admin_web_server"),
                        ("PrometheusExporter", "prometheus")):
        if config.shards(name):
            yield (config.get(table, "listen_address"), config.get(table, "listen_port"),
                   f"the pages of {name}")


def is_busy(host, port):
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
            probe.listen()
        except OSError as error:
            return error.errno == errno.EADDRINUSE
    return False


def main():
    os.environ["CMS_CONFIG"] = sys.argv[1]
    try:
        config = demo_service.load_configuration(lambda _text: None)
    except demo_service.Refusal as error:
        sys.exit(str(error))
    for host, port, what in places(config):
        if is_busy(host, port):
            print(port, what)


main()
