# SPDX-License-Identifier: MIT
"""A proxy before etcd that counts: HTTP/1.1 requests by path, connections, bytes."""

import asyncio
import collections
import datetime
import email.utils
import re
import threading
import time

from network import CLONE_NEWNET, NAMESPACES, libc

CHUNK = 65536
HEAD_MAX = 65536
DATE = re.compile(rb"(\r\nDate: )([^\r]*)")


class Requests:
    """What a client sends on one connection, cut into requests."""

    def __init__(self, on_request):
        self.on_request = on_request
        self.buffer = b""
        self.body_left = 0

    def feed(self, data):
        self.buffer += data
        while self.buffer:
            skipped = min(self.body_left, len(self.buffer))
            self.buffer = self.buffer[skipped:]
            self.body_left -= skipped
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if self.body_left or not end:
                assert len(self.buffer) <= HEAD_MAX, "no end of the head"
                return
            self.buffer = rest
            self._begin(head.decode("latin-1").split("\r\n"))

    def _begin(self, lines):
        method, path, version = lines[0].split(" ")
        assert version == "HTTP/1.1", lines[0]
        fields = {name.strip().lower(): value.strip()
                  for name, _, value in (line.partition(":") for line in lines[1:])}
        assert "transfer-encoding" not in fields, "a body without a length: not understood here"
        self.body_left = int(fields.get("content-length", "0"))
        self.on_request(method, path)


class Proxy:
    """On `host`, 127.0.0.1:port; passes everything on to 127.0.0.1:upstream."""

    def __init__(self, host, port, upstream, clock_ahead_s=0):
        self.host, self.port, self.upstream = host, port, upstream
        self.clock_ahead_s = clock_ahead_s      # of the upstream, as it is told
        self.url = f"http://127.0.0.1:{port}"
        self.lock = threading.Lock()
        self.requests = []          # (time, path)
        self.open = self.open_most = self.opened = 0
        self.bytes_sent = self.bytes_received = 0
        self.failure = None
        self.loop = asyncio.new_event_loop()
        self.ready = threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self.thread.start()
        assert self.ready.wait(10), "the proxy does not start"
        self.check()

    def stop(self):
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join()
        self.check()

    def check(self):
        if self.failure:
            raise self.failure

    def count(self, since=0.0, until=float("inf")):
        """{path: requests} that began between these times of time.monotonic()."""
        with self.lock:
            return collections.Counter(path for at, path in self.requests if since <= at < until)

    # ---- in the proxy's own thread, which is in the host's namespace ------

    def _run(self):
        try:
            with open(f"{NAMESPACES}/{self.host.namespace}", "rb") as namespace:
                assert libc.setns(namespace.fileno(), CLONE_NEWNET) == 0, "setns"
            self.loop.run_until_complete(
                asyncio.start_server(self._serve, "127.0.0.1", self.port))
        except (OSError, AssertionError) as error:
            self.failure = error
        self.ready.set()
        if not self.failure:
            self.loop.run_forever()
            for task in asyncio.all_tasks(self.loop):
                task.cancel()
            self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()

    def _note(self, _method, path):
        with self.lock:
            self.requests.append((time.monotonic(), path))

    async def _serve(self, reader, writer):
        self.opened += 1
        self.open += 1
        self.open_most = max(self.open_most, self.open)
        try:
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self.upstream)
            requests = Requests(self._note)
            ways = [asyncio.ensure_future(self._pass(reader, up_writer, requests.feed)),
                    asyncio.ensure_future(self._pass(up_reader, writer, self._received))]
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
            up_writer.close()
        except OSError:
            pass                    # the upstream is away: so is this connection
        except AssertionError as error:
            self.failure = error
        finally:
            self.open -= 1
            writer.close()

    def _tell_time(self, data):
        """Of the same length, and small answers come in one piece: no need to cut them."""
        def shift(match):
            at = email.utils.parsedate_to_datetime(match.group(2).decode())
            later = at + datetime.timedelta(seconds=self.clock_ahead_s)
            return match.group(1) + email.utils.format_datetime(later, usegmt=True).encode()
        return DATE.sub(shift, data) if self.clock_ahead_s else data

    def _received(self, data):
        self.bytes_received += len(data)

    async def _pass(self, reader, writer, see):
        try:
            while True:
                data = await reader.read(CHUNK)
                if not data:
                    return
                see(data)
                writer.write(self._tell_time(data) if see == self._received else data)
                await writer.drain()
        except OSError:
            return
        except (AssertionError, ValueError) as error:
            self.failure = error
