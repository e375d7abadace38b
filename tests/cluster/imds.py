# SPDX-License-Identifier: MIT
"""
A stand-in for EC2's instance metadata service inside a test host: only its
second version (a token by PUT first), as where an account requires that.
Run as a program it is the service; class Imds starts that on a host.
"""

import http.server
import json
import os
import secrets
import sys
import threading

ADDRESS, PORT = "169.254.169.254", 80
TTL, TOKEN = "X-aws-ec2-metadata-token-ttl-seconds", "X-aws-ec2-metadata-token"


class Service(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    instance_id = None
    silent = False              # requests are read, and never answered
    tokens = set()

    def do_PUT(self):
        ttl = self.headers.get(TTL, "")
        if self.path != "/latest/api/token":
            self.answer(404)
        elif self.headers.get("X-Forwarded-For"):
            self.answer(403)
        elif not ttl.isdecimal() or not 1 <= int(ttl) <= 21600:
            self.answer(400)
        else:
            token = secrets.token_urlsafe(40) + "=="
            self.tokens.add(token)
            self.answer(200, token)

    def do_GET(self):
        if self.headers.get(TOKEN) not in self.tokens:
            self.answer(401)    # the first version of the service would answer
        elif self.path != "/latest/meta-data/instance-id":
            self.answer(404)
        else:
            self.answer(200, self.instance_id)

    def answer(self, status, text=""):
        print(json.dumps([self.command, self.path, 0 if self.silent else status]), flush=True)
        if self.silent:
            threading.Event().wait()
        self.send_response(status)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_arguments):
        pass


class Imds:
    def __init__(self, host, instance_id, silent=False):
        # Here, so that the program needs nothing but Python.
        from network import ip
        from process import Process
        self.host = host
        ip("-n", host.namespace, "addr", "add", f"{ADDRESS}/32", "dev", "lo")
        command = host.command(sys.executable, "-I", os.path.realpath(__file__), instance_id,
                               *(["silent"] if silent else []))
        self.process = Process(command, os.path.join(host.directory, "imds.log"))
        self._wait()

    def _wait(self):
        from waiting import Hopeless, until

        def look():
            if not self.process.is_running():
                raise Hopeless(f"the metadata service ended: {self.process.log()}")
            try:
                self.host.connect(ADDRESS, PORT, timeout_s=1).close()
                return True
            except OSError:
                return False
        until(20, look, "the metadata service listens")

    def requests(self):
        """[[method, path, status]]; status 0: no answer."""
        return [json.loads(line) for line in self.process.log().splitlines()]


def main():
    Service.instance_id = sys.argv[1]
    Service.silent = sys.argv[2:] == ["silent"]
    server = http.server.ThreadingHTTPServer((ADDRESS, PORT), Service)
    server.daemon_threads = True
    server.serve_forever()


if __name__ == "__main__":
    main()
