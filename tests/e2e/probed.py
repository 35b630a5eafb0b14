"""An engine for health checks: answers every request in threads of its own, as the scenario wants it at the time."""

import http.server
import json
import threading

from wire import WAIT


class ProbedEngine:
    """`health` is the status of /health (0: the connection is closed without one); everything else gets 200 JSON."""

    def __init__(self, version="HTTP/1.1"):
        self.health = 200
        self.held = False  # health checks wait for their answer
        self.probes = 0
        self.requests = []  # (path, body), without probes
        self.changed = threading.Condition()
        engine = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = version

            def do_GET(self):
                with engine.changed:
                    status = engine.health if self.path == "/health" else 200
                    if self.path == "/health":
                        engine.changed.wait_for(lambda: not engine.held, WAIT)
                    engine.probes += self.path == "/health"
                    engine.changed.notify_all()
                if status == 0:
                    self.close_connection = True
                    return
                self.answer(status, b"{}")

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                with engine.changed:
                    engine.requests.append((self.path, body))
                    engine.changed.notify_all()
                self.answer(200, json.dumps({"port": engine.port}).encode())

            def answer(self, status, body):
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                if version != "HTTP/1.0":
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.thread = threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05})
        self.thread.start()

    def wait_probes(self, more):
        """Waits for so many probes from now on."""
        with self.changed:
            target = self.probes + more
            assert self.changed.wait_for(lambda: self.probes >= target, WAIT), f"waited {WAIT} s for {more} probes"

    def set_health(self, status):
        with self.changed:
            self.health = status

    def hold_health(self, held):
        with self.changed:
            self.held = held
            self.changed.notify_all()

    def close(self):
        self.hold_health(False)
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()
