# SPDX-License-Identifier: MIT
"""
Stand-ins for CMS's services, for machines without CMS (quickstart, cluster
tests). Started as cmsNAME, they read the same CMS_CONFIG, bind the RPC port of
their own entry, speak the same RPC, connect to the services that the real ones
connect to and end with the same statuses. They judge and store nothing.

An independent reader of what cmsnode renders: nothing here may be shared with
the daemon. Standard library only, and little of it: many are started at once,
so asyncio, argparse, logging and http are left out for their import time.
"""

import collections
import heapq
import json
import os
import selectors
import signal
import socket
import sys
import time
import _thread

MAX_MESSAGE = 1024 * 1024       # bytes, line end included; both directions
RETRY_S = 0.5
CHECK_PERIOD_S = 90
LAST_MESSAGES = 100
LEVELS = {"DEBUG": 10, "INFO": 20, "WARNING": 30, "ERROR": 40, "CRITICAL": 50}


class Refusal(Exception):
    """Ends the service with one CRITICAL line and status 1."""


class BadMessage(Exception):
    """The peer broke the protocol: its connection is dropped."""


def print_line(severity, coord, text):
    stamp = time.strftime("%Y/%m/%d %H:%M:%S")
    try:
        sys.stderr.write(f"{stamp} - {severity} [{coord}] {text}\n")
        sys.stderr.flush()
    except OSError:
        pass                    # whoever read our output is gone; the service goes on


# ---------------------------------------------------------------- the loop


class Loop:
    """One thread: sockets, timers, and what other threads hand over."""

    def __init__(self):
        self.selector = selectors.DefaultSelector()
        self.timers = []
        self.timer_count = 0
        self.handed_over = collections.deque()
        self.stopping = False
        self.wake_read, self.wake_write = socket.socketpair()
        for end in (self.wake_read, self.wake_write):
            end.setblocking(False)
        self.selector.register(self.wake_read, selectors.EVENT_READ, self._on_wake)
        signal.set_wakeup_fd(self.wake_write.fileno(), warn_on_full_buffer=False)

    def after(self, delay_s, function):
        self.timer_count += 1   # keeps equal times comparable
        heapq.heappush(self.timers, (time.monotonic() + delay_s, self.timer_count, function))

    def hand_over(self, function):
        """The only call allowed from another thread."""
        self.handed_over.append(function)
        try:
            self.wake_write.send(b"\0")
        except BlockingIOError:
            pass                # it is awake already

    def _on_wake(self, _events):
        self.wake_read.recv(4096)
        while self.handed_over:
            self.handed_over.popleft()()

    def run(self):
        while not self.stopping:
            timeout = max(0, self.timers[0][0] - time.monotonic()) if self.timers else None
            for key, events in self.selector.select(timeout):
                key.data(events)
            while self.timers and self.timers[0][0] <= time.monotonic():
                heapq.heappop(self.timers)[2]()


class Channel:
    """One TCP connection: whole CRLF lines in, bytes out."""

    def __init__(self, loop, sock, on_line, on_close):
        self.loop, self.sock, self.on_line, self.on_close = loop, sock, on_line, on_close
        self.incoming = b""
        self.outgoing = b""
        self.closed = False
        sock.setblocking(False)
        loop.selector.register(sock, selectors.EVENT_READ, self._on_events)

    def close(self):
        if self.closed:
            return
        self.closed = True
        self.loop.selector.unregister(self.sock)
        self.sock.close()
        self.on_close()

    def send(self, data):
        self.outgoing += data
        self._flush()

    def _flush(self):
        try:
            while self.outgoing:
                self.outgoing = self.outgoing[self.sock.send(self.outgoing):]
        except BlockingIOError:
            pass
        except OSError:
            self.close()
        if not self.closed:
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if self.outgoing else 0)
            self.loop.selector.modify(self.sock, events, self._on_events)

    def _on_events(self, events):
        if events & selectors.EVENT_WRITE and not self.closed:
            self._flush()
        if events & selectors.EVENT_READ and not self.closed:
            self._receive()

    def _receive(self):
        try:
            data = self.sock.recv(65536)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close()
            return
        self.incoming += data
        try:
            self._take_lines()
        except BadMessage:
            self.close()

    def _take_lines(self):
        while not self.closed:
            end = self.incoming.find(b"\n") + 1
            if max(end, len(self.incoming) if end == 0 else 0) > MAX_MESSAGE:
                raise BadMessage("line too long")
            if end == 0:
                return
            line, self.incoming = self.incoming[:end], self.incoming[end:]
            if not line.endswith(b"\r\n"):
                raise BadMessage("line without CR LF")
            self.on_line(self, line[:-2])


def bind_and_listen(loop, family, address, on_connection):
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if family == socket.AF_INET6:
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    try:
        sock.bind(address)
        sock.listen(128)
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)

    def accept(_events):
        try:
            on_connection(sock.accept()[0])
        except OSError:
            pass                # it hung up already, or we are out of descriptors
    loop.selector.register(sock, selectors.EVENT_READ, accept)


# ------------------------------------------------------------- RPC messages


def parse_message(line, fields):
    """The JSON object of a line; None if it is some other JSON value."""
    try:
        message = json.loads(line.decode("utf-8"))
    except (ValueError, RecursionError):
        raise BadMessage("not JSON") from None
    if not isinstance(message, dict):
        return None
    if any(field not in message for field in fields):
        raise BadMessage("field missing")
    return message


def format_message(message):
    """None if it is too long to be sent."""
    line = json.dumps(message).encode("ascii") + b"\r\n"
    return line if len(line) <= MAX_MESSAGE else None


def rpc_method(function):
    function.is_rpc_method = True
    return function


class Peer:
    """The client side: connected for ever, tried again each RETRY_S."""

    def __init__(self, service, name, shard, address):
        self.service, self.loop = service, service.loop
        self.coord = f"{name},{shard}"
        self.host, self.port = address
        self.channel = None
        self.candidates = []
        self.pending = {}
        self.requests = 0
        self.unresolved_told = False
        self._resolve()

    @property
    def connected(self):
        return self.channel is not None

    def call(self, method, data, on_reply=None):
        """on_reply(data, error); a call while disconnected fails at once."""
        self.requests += 1
        request_id = f"{os.getpid():08x}{self.requests:024x}"
        line = format_message({"__id": request_id, "__method": method, "__data": data})
        if not self.connected or line is None:
            if on_reply:
                on_reply(None, "Write failed.")
            return
        self.pending[request_id] = on_reply
        self.channel.send(line)

    def _resolve(self):
        try:
            self._on_addresses(self._look_up(socket.AI_NUMERICHOST))
        except socket.gaierror:
            _thread.start_new_thread(self._resolve_name, ())

    def _look_up(self, flags):
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM, flags=flags)
        return [(family, address) for family, _type, _proto, _name, address in found]

    def _resolve_name(self):
        try:
            found = self._look_up(0)
        except OSError:
            found = []
        self.loop.hand_over(lambda: self._on_addresses(found))

    def _on_addresses(self, found):
        if not found and not self.unresolved_told:
            self.service.log("WARNING", f"cannot resolve {self.host} ({self.coord}), retrying")
        self.unresolved_told = not found
        self.candidates = found
        self._try_next()

    def _try_next(self):
        if not self.candidates:
            self.loop.after(RETRY_S, self._resolve)
            return
        family, address = self.candidates.pop(0)
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError:         # no descriptor left, or no such family here
            self._try_next()
            return
        sock.connect_ex(address)
        self.loop.selector.register(sock, selectors.EVENT_WRITE,
                                    lambda _events: self._on_attempt(sock))

    def _on_attempt(self, sock):
        self.loop.selector.unregister(sock)
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != 0:
            sock.close()
            self._try_next()
            return
        self.channel = Channel(self.loop, sock, self._on_line, self._on_close)
        self.service.log("INFO", f"connected to {self.coord} at {self.host}:{self.port}")

    def _on_line(self, _channel, line):
        reply = parse_message(line, ("__id", "__data", "__error"))
        if reply is None:
            return
        on_reply = self.pending.pop(reply["__id"], None)
        if on_reply:
            on_reply(reply["__data"], reply["__error"])

    def _on_close(self):
        self.channel = None
        failed, self.pending = self.pending, {}
        for on_reply in failed.values():
            if on_reply:
                on_reply(None, "Disconnected.")
        self.service.log("INFO", f"connection to {self.coord} ended")
        self.loop.after(RETRY_S, self._resolve)


# ---------------------------------------------------------- configuration

# Tables and types of cms.toml since 2025-08.
TOML_KEYS = {
    "global": {"temp_dir": str, "backdoor": bool, "file_log_debug": bool,
               "stream_log_detailed": bool,
               "log_dir": str, "cache_dir": str, "data_dir": str, "run_dir": str},
    "database": {"url": str, "debug": bool, "twophase_commit": bool},
    "worker": {"keep_sandbox": bool},
    "sandbox": {"sandbox_implementation": str, "max_file_size": int,
                "compilation_sandbox_max_processes": int, "compilation_sandbox_max_time_s": float,
                "compilation_sandbox_max_memory_kib": int, "trusted_sandbox_max_processes": int,
                "trusted_sandbox_max_time_s": float, "trusted_sandbox_max_memory_kib": int},
    "web_server": {"secret_key": str, "tornado_debug": bool},
    "contest_web_server": {"listen_address": [str], "listen_port": [int], "cookie_duration": int,
                           "num_proxies_used": int, "submit_local_copy": bool,
                           "submit_local_copy_path": str, "tests_local_copy": bool,
                           "tests_local_copy_path": str, "max_submission_length": int,
                           "max_input_length": int, "stl_path": str, "docs_path": str,
                           "contest_admin_token": str},
    "admin_web_server": {"listen_address": str, "listen_port": int, "cookie_duration": int,
                         "num_proxies_used": int},
    "proxy_service": {"rankings": [str], "https_certfile": str},
    "prometheus": {"listen_address": str, "listen_port": int},
    "telegram_bot": {"bot_token": str, "chat_id": str},
}
TOML_REQUIRED = {"database": ("url",), "telegram_bot": ("bot_token", "chat_id")}

# Old flat names (cms.conf) of what this module reads.
FLAT_KEYS = {
    "database": ("database", "url"),
    "secret_key": ("web_server", "secret_key"),
    "contest_listen_address": ("contest_web_server", "listen_address"),
    "contest_listen_port": ("contest_web_server", "listen_port"),
    "admin_listen_address": ("admin_web_server", "listen_address"),
    "admin_listen_port": ("admin_web_server", "listen_port"),
    "rankings": ("proxy_service", "rankings"),
    "printer": ("printing_service", "printer"),
    "prometheus_listen_address": ("prometheus", "listen_address"),
    "prometheus_listen_port": ("prometheus", "listen_port"),
    "telegram_bot_token": ("telegram_bot", "bot_token"),
    "telegram_bot_chat_id": ("telegram_bot", "chat_id"),
}

DEFAULTS = {
    ("web_server", "secret_key"): "8e045a51e4b102ea803c06f92841a1fb",
    ("contest_web_server", "listen_address"): ["127.0.0.1"],
    ("contest_web_server", "listen_port"): [8888],
    ("admin_web_server", "listen_address"): "127.0.0.1",
    ("admin_web_server", "listen_port"): 8889,
    ("proxy_service", "rankings"): [],
    ("prometheus", "listen_address"): "127.0.0.1",
    ("prometheus", "listen_port"): 8811,
}

RANKING_KEYS = {"bind_address": str, "http_port": int, "https_port": int, "https_certfile": str,
                "https_keyfile": str, "realm_name": str, "username": str, "password": str,
                "buffer_size": int, "log_dir": str, "lib_dir": str}
RANKING_KEYS_TOML = {"public": dict}
RANKING_KEYS_JSON = {"timeout": int, "web_dir": str}


def has_type(value, wanted):
    """CMS's reader takes a bool for a number and an integer for a float."""
    if isinstance(wanted, list):
        return isinstance(value, list) and all(has_type(item, wanted[0]) for item in value)
    return isinstance(value, (int, float) if wanted is float else wanted)


def check_services(services):
    if not isinstance(services, dict):
        raise Refusal("configuration: services is not a table")
    for name, entries in services.items():
        if not isinstance(entries, list):
            raise Refusal(f"configuration: services.{name} is not an array")
        for shard, entry in enumerate(entries):
            if not (isinstance(entry, list) and len(entry) == 2
                    and isinstance(entry[0], str) and isinstance(entry[1], int)):
                raise Refusal(f"configuration: services.{name}[{shard}] is not [host, port]")


class Configuration:
    """One reader for both formats; values by (table, key) of cms.toml."""

    def __init__(self, values, services, known_tables):
        self.values, self.services, self.known_tables = values, services, known_tables

    def get(self, table, key):
        return self.values.get((table, key), DEFAULTS.get((table, key)))

    def address(self, name, shard):
        entries = self.services.get(name, [])
        if not 0 <= shard < len(entries):
            raise Refusal(f"{name},{shard} is not in the services table")
        return entries[shard]

    def shards(self, name):
        return range(len(self.services.get(name, [])))


def read_file(path):
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise Refusal(f"configuration {path}: {error.strerror}") from None


def parse_file(path):
    """Text to a dict, by the name's ending as each CMS version knows one format only."""
    data = read_file(path)
    try:
        if path.endswith(".toml"):
            import tomllib
            return tomllib.loads(data.decode("utf-8"))
        parsed = json.loads(data.decode("utf-8"))   # of equal keys the last one counts
    except ValueError as error:
        raise Refusal(f"configuration {path}: {error}") from None
    if not isinstance(parsed, dict):
        raise Refusal(f"configuration {path}: not an object")
    return parsed


def toml_configuration(path, parsed, warn):
    values = {}
    for table, content in parsed.items():
        if table == "services":
            continue
        if table not in TOML_KEYS:
            warn(f"configuration {path}: unknown table {table}, ignoring")
            continue
        if not isinstance(content, dict):
            raise Refusal(f"configuration {path}: {table} is not a table")
        for key, value in content.items():
            if key not in TOML_KEYS[table]:
                warn(f"configuration {path}: unknown key {table}.{key}, ignoring")
            elif not has_type(value, TOML_KEYS[table][key]):
                raise Refusal(f"configuration {path}: {table}.{key} has the wrong type")
            else:
                values[(table, key)] = value
    for table in [name for name in TOML_REQUIRED if name in parsed or name == "database"]:
        for key in TOML_REQUIRED[table]:
            if (table, key) not in values:
                raise Refusal(f"configuration {path}: required key {table}.{key} is missing")
    if "services" not in parsed:
        raise Refusal(f"configuration {path}: required table services is missing")
    check_services(parsed["services"])
    return Configuration(values, parsed["services"], set(parsed))


def flat_configuration(parsed):
    """cms.conf: unknown keys are nobody's business, a missing services object is a KeyError."""
    services = {}
    for group in ("core_services", "other_services"):
        services.update((name, entries) for name, entries in parsed[group].items()
                        if not name.startswith("_"))
    check_services(services)
    values = {("contest_web_server", "listen_address"): [""],
              ("admin_web_server", "listen_address"): "",
              ("proxy_service", "rankings"): ["http://usern4me:passw0rd@localhost:8890/"]}
    values.update((place, parsed[key]) for key, place in FLAT_KEYS.items() if key in parsed)
    tables = {"telegram_bot"} if parsed.get("telegram_bot_token") is not None else set()
    return Configuration(values, services, tables)


def load_configuration(warn):
    path = os.environ.get("CMS_CONFIG")
    if not path:
        raise Refusal("CMS_CONFIG is not set, and a stand-in has no other place to look")
    parsed = parse_file(path)
    if path.endswith(".toml"):
        return toml_configuration(path, parsed, warn)
    return flat_configuration(parsed)


# ---------------------------------------------------------------- services


class Service:
    """What all of CMS's services have in common."""

    contest = "ignored"         # or "any", "numeric"
    has_rpc = True
    peers = ()                  # of which the first shard is dialled
    needs_ranking_proxy = False

    def __init__(self, name, shard, contest, config):
        self.name, self.shard, self.contest_id, self.config = name, shard, contest, config
        self.coord = f"{name},{shard}"
        self.loop = Loop()
        self.log_peer = None
        self.connections = []
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)
        self.check()
        self.connect()

    # What follows is called by RPC.

    @rpc_method
    def echo(self, string):
        return string

    @rpc_method
    def quit(self, reason=""):
        self.stop(f"asked to quit: {reason or 'no reason given'}")

    # What follows is not.

    def log(self, severity, text):
        print_line(severity, self.coord, text)
        if self.log_peer and LEVELS[severity] >= LEVELS["INFO"]:
            self.log_peer.call("Log", {
                "msg": text, "levelname": severity, "levelno": LEVELS[severity],
                "created": time.time(), "service_name": self.name, "service_shard": self.shard,
                "operation": "", "exc_text": None})

    def check(self):
        """Refuses to start where the real service would."""

    def dial(self, name, shard):
        peer = Peer(self, name, shard, self.config.address(name, shard))
        self.connections.append(peer)
        return peer

    def connect(self):
        if not self.has_rpc:
            return
        if self.name != "LogService":
            self.log_peer = self.dial("LogService", 0)
        for name in self.peers:
            self.dial(name, 0)
        if self.needs_ranking_proxy:
            self._dial_if(bool(self.config.get("proxy_service", "rankings")), "ProxyService")

    def _dial_if(self, required, name):
        if required or len(self.config.shards(name)):
            self.dial(name, 0)

    def listen(self):
        """Exactly at the host of our own entry; a name is taken as IPv4, as gevent does."""
        host, port = self.config.address(self.name, self.shard)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        try:
            address = socket.getaddrinfo(host, port, family, socket.SOCK_STREAM)[0][4]
            bind_and_listen(self.loop, family, address, self._on_connection)
        except (OSError, OverflowError) as error:
            raise Refusal(f"cannot listen on {host}:{port}: {error}") from None
        self.log("INFO", f"{self.coord} answers RPC on {host}:{port}")

    def listen_http(self, address, port):
        """A busy port is a traceback and status 1, as in the real ones."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        bind_and_listen(self.loop, family, (address, port), self._on_http_connection)
        self.log("INFO", f"HTTP on http://{address or '0.0.0.0'}:{port}/")

    def page(self):
        rows = "".join(f"<tr><td>{peer.coord}</td><td>{peer.host}:{peer.port}</td>"
                       f"<td>{'connected' if peer.connected else 'not connected'}</td></tr>"
                       for peer in self.connections)
        return (f"<!DOCTYPE html><title>{self.name}</title><h1>{self.name} {self.shard}</h1>"
                f"<p>A stand-in for CMS's {self.name}, contest {self.contest_id}.</p>"
                f"<table>{rows}</table>\n")

    def run(self):
        if self.has_rpc:
            self.listen()
        self.loop.run()
        return 0

    def stop(self, reason):
        if not self.loop.stopping:
            self.log("INFO", f"{self.coord} stops, {reason}")
        self.loop.stopping = True

    def _on_signal(self, number, _frame):
        self.stop(f"signal {signal.Signals(number).name}")

    def _on_connection(self, sock):
        Channel(self.loop, sock, self._on_request, lambda: None)

    def _on_request(self, channel, line):
        request = parse_message(line, ("__id", "__method", "__data"))
        if request is None or not isinstance(request["__method"], str):
            return
        data, error = self._dispatch(request["__method"], request["__data"])
        reply = format_message({"__id": request["__id"], "__data": data, "__error": error})
        if reply is not None:
            channel.send(reply)

    def _dispatch(self, method, data):
        function = getattr(self, method, None)
        if function is None:
            return None, f"Method {method} doesn't exist."
        if not getattr(function, "is_rpc_method", False):
            return None, f"Method {method} isn't callable."
        try:
            return function(**data), None
        except Exception as error:
            import traceback
            return None, f"{type(error).__name__}: {error}\n{traceback.format_exc()}"

    def _on_http_connection(self, sock):
        Channel(self.loop, sock, self._on_http_line, lambda: None)

    def _on_http_line(self, channel, line):
        if line:
            return              # request line and headers: every path is the same page
        body = self.page().encode()
        channel.send(b"HTTP/1.0 200 OK\r\nContent-Type: text/html; charset=utf-8\r\n"
                     b"Content-Length: %d\r\n\r\n" % len(body) + body)
        channel.close()


class LogService(Service):
    def __init__(self, *args):
        self.messages = collections.deque(maxlen=LAST_MESSAGES)
        super().__init__(*args)

    @rpc_method
    def Log(self, msg, levelname, levelno, created, service_name="LogService", service_shard=0,
            operation="", exc_text=None, **_rest):
        coord = f"{service_name},{service_shard}"
        print_line(levelname, coord, msg)
        if levelno >= LEVELS["WARNING"]:
            self.messages.append({
                "message": msg, "coord": coord, "operation": operation, "severity": levelname,
                "timestamp": created, "exc_text": exc_text})

    @rpc_method
    def last_messages(self):
        return list(self.messages)


class ScoringService(Service):
    needs_ranking_proxy = True


class EvaluationService(Service):
    contest = "any"
    peers = ("ScoringService",)

    def connect(self):
        super().connect()
        self.workers = [self.dial("Worker", shard) for shard in self.config.shards("Worker")]
        self.disabled = set()

    @rpc_method
    def workers_status(self):
        return {str(shard): {"connected": worker.connected,
                             "operations": "disabled" if shard in self.disabled else None,
                             "start_time": None}
                for shard, worker in enumerate(self.workers)}

    @rpc_method
    def disable_worker(self, shard):
        return self._set_disabled(shard, shard not in self.disabled, self.disabled.add)

    @rpc_method
    def enable_worker(self, shard):
        return self._set_disabled(shard, shard in self.disabled, self.disabled.discard)

    def _set_disabled(self, shard, changes, change):
        if not 0 <= shard < len(self.workers) or not changes:
            return False
        change(shard)
        return True


class ContestWebServer(Service):
    contest = "any"
    peers = ("EvaluationService", "ScoringService")
    needs_ranking_proxy = True

    def check(self):
        bytes.fromhex(self.config.get("web_server", "secret_key"))
        addresses = self.config.get("contest_web_server", "listen_address")
        ports = self.config.get("contest_web_server", "listen_port")
        if self.shard >= min(len(addresses), len(ports)):
            raise Refusal("contest_web_server.listen_address or listen_port has no entry "
                          f"{self.shard}")
        self.listen_http(addresses[self.shard], ports[self.shard])

    def connect(self):
        super().connect()
        if self.config.get("printing_service", "printer") is not None:
            self.dial("PrintingService", 0)


class AdminWebServer(Service):
    peers = ("AdminWebServer", "EvaluationService", "ScoringService")
    needs_ranking_proxy = True

    def check(self):
        bytes.fromhex(self.config.get("web_server", "secret_key"))
        self.listen_http(self.config.get("admin_web_server", "listen_address"),
                         self.config.get("admin_web_server", "listen_port"))

    def connect(self):
        super().connect()
        for shard in self.config.shards("ResourceService"):
            self.dial("ResourceService", shard)


class Checker(Service):
    def connect(self):
        super().connect()
        for name in self.config.services:
            for shard in self.config.shards(name):
                self.dial(name, shard)
        self.loop.after(CHECK_PERIOD_S, self._check_all)

    def _check_all(self):
        for peer in self.connections[1:]:
            self._check(peer, f"{peer.coord} {time.time()}")
        self.loop.after(CHECK_PERIOD_S, self._check_all)

    def _check(self, peer, sent):
        def on_reply(data, error):
            if error is not None or data != sent:
                self.log("INFO", f"{peer.coord} did not answer: {error}")
        peer.call("echo", {"string": sent}, on_reply)


class ProxyService(Service):
    contest = "numeric"


class PrometheusExporter(Service):
    def check(self):
        self.listen_http(self.config.get("prometheus", "listen_address"),
                         self.config.get("prometheus", "listen_port"))

    def page(self):
        if len(self.connections) == 1:      # only LogService yet: dialled at the first scrape
            self.dial("EvaluationService", 0)
        return f"cms_demo_evaluation_service_connected {int(self.connections[1].connected)}\n"


class TelegramBot(Service):
    contest = "any"
    has_rpc = False

    def check(self):
        if "telegram_bot" not in self.config.known_tables:
            raise Refusal("telegram_bot is not configured")


class RankingWebServer(Service):
    has_rpc = False

    def check(self):
        port = self.config.get("ranking", "http_port")
        if port is not None:
            self.listen_http(self.config.get("ranking", "bind_address") or "", port)


SPECIAL = {cls.__name__: cls for cls in (
    LogService, ScoringService, EvaluationService, ContestWebServer, AdminWebServer, Checker,
    ProxyService, PrometheusExporter, TelegramBot, RankingWebServer)}


# ------------------------------------------------------------- command line


class Usage(Exception):
    """Status 2, as of any program called wrongly."""


def take_arguments(arguments, with_value, without_value):
    """{option: value} and the positional ones."""
    options, positional, rest = {}, [], list(arguments)
    while rest:
        argument = rest.pop(0)
        name, equals, value = argument.partition("=")
        if not argument.startswith("-"):
            positional.append(argument)
        elif name in with_value and (equals or rest):
            options[with_value[name]] = value if equals else rest.pop(0)
        elif argument in without_value:
            options[argument] = True
        else:
            raise Usage(f"unknown argument or missing value: {argument}")
    return options, positional


def take_shard(name, positional):
    if len(positional) > 1 or (positional and not positional[0].isdigit()):
        raise Usage(f"not a shard: {' '.join(positional)}")
    if positional:
        return int(positional[0])
    if name == "PrometheusExporter":
        raise Usage("the shard is required")
    return None


def find_shard(name, config):
    """The first one whose host is an address of this machine."""
    for shard, (host, _port) in enumerate(config.services.get(name, [])):
        try:
            found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM)
            for family, kind, _proto, _canon, address in found:
                with socket.socket(family, kind) as probe:
                    probe.bind(address)
                return shard
        except OSError:
            continue
    raise Refusal(f"no shard of {name} in the services table is on this machine")


def check_contest(wanted, contest):
    if wanted == "ignored":
        return
    if contest is None:
        raise Refusal("no contest was given, and a stand-in cannot ask for one")
    if wanted == "numeric" and contest == "ALL":
        raise TypeError("this service needs the number of one contest, not ALL")
    if contest != "ALL" and not contest.isdigit():
        raise Refusal(f"there is no contest '{contest}'")


def start_listed(name, arguments, warn):
    with_value = {"-c": "contest", "--contest-id": "contest"}
    options, positional = take_arguments(arguments, with_value, ())
    shard, contest = take_shard(name, positional), options.get("contest")
    config = load_configuration(warn)
    cls = SPECIAL.get(name, Service)
    if name == "PrometheusExporter":
        shard = 0               # whatever was said
    elif shard is None:
        shard = find_shard(name, config) if cls.has_rpc else 0
    check_contest(cls.contest, contest)
    if cls.has_rpc:
        config.address(name, shard)
    return cls(name, shard, contest, config)


def ranking_configuration(path, warn):
    parsed, toml = parse_file(path), path.endswith(".toml")
    known = {**RANKING_KEYS, **(RANKING_KEYS_TOML if toml else RANKING_KEYS_JSON)}
    values = {("ranking", "bind_address"): "127.0.0.1" if toml else "",
              ("ranking", "http_port"): 8890}
    for key, value in parsed.items():
        if not toml and key.startswith("_"):
            continue
        if key not in known:
            if not toml:
                raise Refusal(f"configuration {path}: unknown key {key}")
            warn(f"configuration {path}: unknown key {key}, ignoring")
        elif not has_type(value, known[key]) and not (value is None and not toml):
            raise Refusal(f"configuration {path}: {key} has the wrong type")
        values[("ranking", key)] = value
    return Configuration(values, {}, set())


def start_ranking(name, arguments, warn):
    options, positional = take_arguments(arguments, {"--config": "config"}, ("-d", "-y"))
    if positional:
        raise Usage(f"unknown argument: {positional[0]}")
    path = options.get("config") or os.environ.get("CMS_RANKING_CONFIG")
    if not path:
        raise Refusal("neither --config nor CMS_RANKING_CONFIG is given")
    return RankingWebServer(name, 0, None, ranking_configuration(path, warn))


def main():
    program = os.path.basename(sys.argv[0])
    name = program.removeprefix("cms")
    start = start_ranking if name == "RankingWebServer" else start_listed
    try:
        return start(name, sys.argv[1:], lambda text: print_line("WARNING", name, text)).run()
    except Usage as error:
        sys.stderr.write(f"{program}: {error}\n")
        return 2
    except Refusal as error:
        print_line("CRITICAL", name, str(error))
        return 1
