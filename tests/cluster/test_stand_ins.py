# SPDX-License-Identifier: MIT
"""The stand-ins of contrib/demo alone: they have to behave as CMS's services do."""

import json
import os
import re
import signal

import pytest

import rpc
from node import DEMO
from process import Process
from waiting import until


class StandIn(Process):
    def __init__(self, host, config, name, *arguments, variable="CMS_CONFIG"):
        command = host.command(os.path.join(DEMO, f"cms{name}"), *arguments)
        log = os.path.join(host.directory, f"{name}-{'-'.join(arguments)}.log")
        super().__init__(command, log, **{variable: config})


@pytest.fixture(scope="module")
def host(module_cluster):
    return module_cluster.host("alone")


@pytest.fixture(scope="module")
def config(module_cluster):
    return module_cluster.configuration()


@pytest.fixture(scope="module")
def worker(host, config):
    process = StandIn(host, config, "Worker", "0")
    until(10, lambda: "answers RPC" in process.log(), "the Worker's port")
    return process


ECHO = b'{"__id": "a", "__method": "echo", "__data": {"string": "1"}}\r\n'
NOTHING, CLOSED = "nothing", "closed"


@pytest.mark.parametrize("sent, expected", [
    (ECHO, [("a", "1", None)]),
    (ECHO + ECHO.replace(b'"a"', b'"b"'), [("a", "1", None), ("b", "1", None)]),
    (ECHO.replace(b'"1"', b'"\xc3\xa8"'), [("a", "\u00e8", None)]),
    (ECHO.replace(b'"a"', b"7"), [(7, "1", None)]),
    (ECHO.replace(b"echo", b"nope"), [("a", None, "Method nope doesn't exist.")]),
    (ECHO.replace(b"echo", b"stop"), [("a", None, "Method stop isn't callable.")]),
    (ECHO.replace(b"string", b"word"), [("a", None, "TypeError: ")]),
    (ECHO.replace(b'{"string": "1"}', b"null"), [("a", None, "TypeError: ")]),
    (b"[1, 2]\r\n", NOTHING),
    (b'{"__id": "a", "__method": 5, "__data": {}}\r\n', NOTHING),
    (b'{"__id": "a", "__method": "echo"}\r\n', CLOSED),
    (b'{"__id": \r\n', CLOSED),
    (b"\r\n", CLOSED),
    (b'{"__id": "\xff"}\r\n', CLOSED),
    (ECHO.replace(b"\r\n", b"\n"), CLOSED),
    (ECHO.replace(b"\r\n", b" \n"), CLOSED),
    (b"[" * 100000 + b"\r\n", CLOSED),
    (b"x" * (1024 * 1024 + 1), CLOSED),
], ids=lambda value: repr(value)[:40])
def test_rpc(host, worker, sent, expected):
    with host.connect("127.0.0.1", 26000) as sock:
        sock.sendall(sent)
        with sock.makefile("rb") as stream:
            if expected == CLOSED:
                try:
                    assert stream.readline() == b""
                except ConnectionResetError:
                    pass            # closed with our bytes unread
                return
            if expected == NOTHING:     # and the connection goes on
                sock.sendall(ECHO)
                expected = [("a", "1", None)]
            for request_id, data, error in expected:
                reply = json.loads(stream.readline())
                assert (reply["__id"], reply["__data"]) == (request_id, data)
                assert reply["__error"] == error or reply["__error"].startswith(error)


def without(text):
    return lambda config: re.sub(rf"(?m)^{text}.*$", "", config)


def replaced(old, new):
    return lambda config: config.replace(old, new)


@pytest.mark.parametrize("arguments, change, status, said", [
    (("Worker", "0"), None, 1, "CRITICAL .*Address already in use"),
    (("Worker", "7"), None, 1, "CRITICAL .*Worker,7 is not in the services table"),
    (("Worker", "x"), None, 2, "not a shard"),
    (("Worker", "1"), replaced('["localhost", 26001]', '["10.9.9.9", 26001]'), 1,
     "CRITICAL .*Cannot assign"),
    (("Worker", "1"), without("url = "), 1, "CRITICAL .*database.url"),
    (("Worker", "1"), without("LogService = "), 1, "CRITICAL .*LogService,0"),
    (("Worker", "1"), replaced("keep_sandbox = false", "keep_sandbox = 0"), 1,
     "CRITICAL .*worker.keep_sandbox"),
    (("Worker", "1"), replaced("26001]", '"26001"]'), 1, r"CRITICAL .*services.Worker\[1\]"),
    (("Worker", "1"), replaced("[database]", "[database"), 1, "CRITICAL .*line"),
    (("EvaluationService", "0"), None, 1, "CRITICAL .*no contest"),
    (("ProxyService", "0", "-c", "ALL"), None, 1, "TypeError"),
    (("ContestWebServer", "0", "-c", "1"), replaced("listen_port = [8888]", "listen_port = []"), 1,
     "CRITICAL .*listen_port"),
    (("ContestWebServer", "0", "-c", "1"), without("ProxyService = "), 1,
     "CRITICAL .*ProxyService"),
    (("AdminWebServer", "0"), replaced("listen_port = 8889", "listen_port = 26000"), 1,
     "Traceback(.|\n)*OSError"),
    (("PrometheusExporter",), None, 2, "shard is required"),
    (("TelegramBot", "0", "-c", "1"), None, 1, "CRITICAL .*telegram_bot"),
], ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None)
def test_refusals(host, module_cluster, worker, arguments, change, status, said):
    path = module_cluster.configuration("refused.toml", change or (lambda text: text))
    process = StandIn(host, path, *arguments)
    assert process.wait(10) == status
    assert re.search(said, process.log())
    os.unlink(process.log_path)


def test_unknown_keys_are_warned_about_and_ignored(host, module_cluster):
    path = module_cluster.configuration("unknown.toml", lambda text: text + "typo = 1\n[stray]\n")
    process = StandIn(host, path, "Worker", "1")
    until(10, lambda: "answers RPC" in process.log(), "the Worker's port")
    assert re.search("WARNING .*prometheus.typo(.|\n)*WARNING .*stray", process.log())
    process.signal(signal.SIGINT)
    assert process.wait(5) == 0


def test_flat_json_with_equal_keys_is_read(host, module_cluster):
    path = os.path.join(module_cluster.directory, "cms.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write('{"_help": "a", "_help": "b", "unknown": null, "rankings": [],\n'
                   '"core_services": {"LogService": [["localhost", 39000]], "_Worker": 5,\n'
                   '"ScoringService": [["127.0.0.1", 38500]]}, "other_services": {}}\n')
    process = StandIn(host, path, "ScoringService", "0", "-c", "3")
    until(10, lambda: "answers RPC" in process.log(), "the port")
    assert process.stop(5) == 0


def test_a_peer_that_comes_back_is_connected_again(host, config, worker):
    services = [StandIn(host, config, name, "0", "-c", "1")
                for name in ("LogService", "EvaluationService")]

    def connected(shard):
        status = rpc.call(host, "127.0.0.1:25000", "workers_status")
        assert status[str(shard)].keys() == {"connected", "operations", "start_time"}
        return status[str(shard)]["connected"]
    until(10, lambda: "answers RPC" in services[1].log(), "EvaluationService's port")
    until(5, lambda: connected(0), "Worker 0 connected")
    assert not connected(1)
    for _time in range(2):
        second = StandIn(host, config, "Worker", "1")
        until(5, lambda: "answers RPC" in second.log(), "the port of Worker 1")
        until(2, lambda: connected(1), "Worker 1 connected")
        assert rpc.call(host, "127.0.0.1:26001", "quit", reason="test") is None
        assert second.wait(5) == 0
        os.unlink(second.log_path)
        until(2, lambda: not connected(1), "Worker 1 disconnected")
    record = {"msg": "broken", "levelname": "ERROR", "levelno": 40, "created": 1.5, "name": "x",
              "service_name": "Worker", "service_shard": 3, "operation": "op", "exc_text": None}
    assert rpc.call(host, "127.0.0.1:29000", "Log", **record) is None
    assert rpc.call(host, "127.0.0.1:29000", "last_messages")[-1] == {
        "message": "broken", "coord": "Worker,3", "operation": "op", "severity": "ERROR",
        "timestamp": 1.5, "exc_text": None}
    assert [process.stop(5) for process in services] == [0, 0]
