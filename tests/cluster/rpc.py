# SPDX-License-Identifier: MIT
"""CMS's RPC, one call a connection."""

import json


def call(host, address, method, **arguments):
    """From `host`, to "IP:PORT"; the data of the reply."""
    ip, port = address.rsplit(":", 1)
    request = {"__id": "test", "__method": method, "__data": arguments}
    with host.connect(ip, int(port)) as sock:
        sock.sendall(json.dumps(request).encode() + b"\r\n")
        with sock.makefile("rb") as stream:
            reply = json.loads(stream.readline())
    assert reply["__error"] is None, reply["__error"]
    return reply["__data"]
