#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""
make.py: writes the digest vectors beside it, NAME.json each. It shares nothing
with the daemon but the rule: SHA-256 over, for each key below the directory in
byte order, `meta` left out, the key relative to the directory, NUL, the value's
length as 64 bits big-endian, the value.

A vector: "entries" in the order in which a reader may meet them, each with "key"
and "value" (text) or "hex" (bytes); "counted", how many the digest covers;
"digest".
"""

import hashlib
import json
import os
import struct


def digest(entries):
    total = hashlib.sha256()
    counted = sorted((key.encode(), value) for key, value in entries if key != "meta")
    for key, value in counted:
        total.update(key + b"\0" + struct.pack(">Q", len(value)) + value)
    return len(counted), total.hexdigest()


def text(value):
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()


def configuration():
    yield "topology/slots", text({
        "LogService": [{"node": "a", "port": 29000}],
        "Worker": [{"node": "a", "port": 26000}, {"port": 26001},
                   {"host": "10.0.0.9", "port": 26000}]})
    yield "topology/nodes", text({
        "a": {"address": "10.0.0.1", "roles": ["core", "worker:1"], "contest": "ALL",
              "state": "present", "since_sequence": 1}})
    yield "topology/policy", text({"worker_pool": 4, "rejoin_window_s": 600, "frozen": False})
    yield "cms/database/url", text("postgresql+psycopg2://cmsuser:p\u00e4ss@localhost/cms")
    yield "cms/contest_web_server/listen_address", text("auto")
    yield "cms/global/file_log_debug", text(False)
    yield "cms/worker/keep_sandbox", text(True)


VECTORS = {
    "nothing": [],
    "one_entry": [("cms/database/url", b'"x"')],
    "empty_value": [("other/a", b""), ("other/b", b"\0")],
    # The same bytes, cut elsewhere: the length keeps them apart.
    "border_1": [("other/k", b"ab"), ("other/l", b"c")],
    "border_2": [("other/k", b"a"), ("other/l", b"bc")],
    "any_bytes": [("other/bytes", bytes(range(256)))],
    # Lengths whose last byte is 0, and that need another one.
    "long_values": [("other/256", b"x" * 256), ("other/512", b"y" * 512)],
    # Byte order is neither a locale's nor that of the parts between the slashes.
    "byte_order": [("other/\u00e9", b"1"), ("other/z", b"2"), ("other/Z", b"3"),
                   ("other/a/b", b"4"), ("other/a.b", b"5"), ("other/a", b"6"),
                   ("other/a-b", b"7"), ("other/\U0001f600", b"8"), ("other/\uffee", b"9")],
    "only_meta_is_left_out": [("meta", None), ("meta2", b"1"), ("other/meta", b"2"),
                              ("Meta", b"3")],
    "configuration": list(configuration()),
}


def entry(key, value):
    if value is None:
        return {"key": key}
    try:
        plain = value.decode()
    except UnicodeDecodeError:
        plain = "\0"
    return {"key": key, "hex": value.hex()} if "\0" in plain else {"key": key, "value": plain}


def main():
    here = os.path.dirname(os.path.realpath(__file__))
    for name, entries in VECTORS.items():
        counted, value = digest(entries)
        with open(os.path.join(here, name + ".json"), "w", encoding="utf-8") as file:
            json.dump({"entries": [entry(*one) for one in entries], "counted": counted,
                       "digest": value}, file, indent=1, ensure_ascii=False)
            file.write("\n")


if __name__ == "__main__":
    main()
