"""The processes of a scenario: simulated engines and gateways, each ended by its own pid."""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request

from wire import MODEL, WAIT

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("TIDEGATE_BUILD", REPOSITORY / "build/release"))
BINARY = pathlib.Path(os.environ.get("TIDEGATE_BIN", BUILD / "bin/tidegate")).resolve()
PLUGINS = pathlib.Path(os.environ.get("TIDEGATE_PLUGINS", BINARY.parent.parent / "lib/tidegate/plugins"))


HANDED_OUT = set()  # the kernel may offer a port again that nobody has bound yet


def free_port():
    while True:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = sock.getsockname()[1]
        if port not in HANDED_OUT:
            HANDED_OUT.add(port)
            return port


def wait_for(condition, what, pause=0.01):
    """For what gives no event of its own (a process that comes up, a number on a page)."""
    deadline = time.monotonic() + WAIT
    while True:
        result = condition()
        if result:
            return result
        assert time.monotonic() < deadline, f"waited {WAIT} s for {what}"
        time.sleep(pause)


def http(url, method="GET", body=None, headers=None):
    """(status, headers, body) by Python's own client."""
    request = urllib.request.Request(url, data=body, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=WAIT) as response:
            return response.status, response.headers, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


class Process:
    def __init__(self, name, command, directory, **options):
        self.name = name
        self.log_path = directory / f"{name}.log"
        self.log_file = open(self.log_path, "wb")
        self.process = subprocess.Popen([str(part) for part in command], stdin=subprocess.DEVNULL,
                                        stdout=subprocess.PIPE, stderr=self.log_file, cwd=directory, **options)

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return self.log_path.read_text(errors="replace")

    def running(self):
        return self.process.poll() is None

    def signal(self, number):
        self.process.send_signal(number)

    def wait(self):
        try:
            return self.process.wait(WAIT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name}: still running {WAIT} s later; log:\n{self.log()}") from None

    def stop(self):
        """Ends the process by its own pid; returns its exit code. A sanitizer's report fails the scenario."""
        if self.running():
            self.process.terminate()
            try:
                self.process.wait(WAIT)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process.stdout.close()
        self.log_file.close()
        return self.process.returncode

    # -- what the kernel knows of it
    def rss_kib(self):
        status = pathlib.Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1])

    def cpu_seconds(self):
        total = 0
        for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
            with contextlib.suppress(FileNotFoundError):
                total += int((task / "schedstat").read_text().split()[0])
        return total / 1e9

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


class SimulatedEngine(Process):
    def __init__(self, name, directory, *arguments):
        super().__init__(name, [BINARY, "engine", "--listen", "127.0.0.1:0", "--id", name, "--model", MODEL,
                                *arguments], directory)
        line = self.process.stdout.readline().decode()
        assert line.startswith("listening on "), f"{name} did not start: {line!r}\n{self.log()}"
        self.port = int(line.rsplit(":", 1)[1])
        self.url = f"http://127.0.0.1:{self.port}"

    def debug(self, what, body=None):
        status, _, answer = http(f"{self.url}/debug/{what}", "POST" if body is not None else "GET",
                                 None if body is None else json.dumps(body).encode())
        assert status == 200, f"/debug/{what}: {status} {answer!r}"
        return json.loads(answer)

    def state(self):
        return self.debug("state")

    def faults(self, **members):
        return self.debug("faults", members)


def worker(engine, **members):
    url = engine if isinstance(engine, str) else engine.url
    return {"url": url, "models": [MODEL], **members}


def merged(base, over):
    out = dict(base)
    for key, value in over.items():
        out[key] = merged(out[key], value) if isinstance(value, dict) and isinstance(out.get(key), dict) else value
    return out


class Gateway(Process):
    """`tidegate serve`. The configuration is written as JSON, which is YAML."""

    def __init__(self, directory, workers, config=None, ready=True, name="gateway"):
        self.port, self.control_port, self.metrics_port = free_port(), free_port(), free_port()
        self.config_path = directory / f"{name}.yaml"
        self.base = {
            # Scenarios end their gateways when nothing is left to drain.
            "server": {"listen": f"127.0.0.1:{self.port}", "threads": 2, "drain": "0s"},
            "control": {"listen": f"127.0.0.1:{self.control_port}"},
            "metrics": {"listen": f"127.0.0.1:{self.metrics_port}"},
            "plugins": {"path": [str(PLUGINS)]},
            "health": {"enabled": False},
        }
        self.configure(workers, config)
        super().__init__(name, [BINARY, "serve", "--config", self.config_path], directory)
        if ready:
            self.wait_ready()

    def configure(self, workers, config=None):
        """Writes the file; takes effect at the start or by reload()."""
        whole = merged(self.base, {
            "discovery": [{"plugin": "static", "config": {"workers": [
                one if isinstance(one, dict) else worker(one) for one in workers]}}]})
        self.write_config(json.dumps(merged(whole, config or {}), indent=1))

    def write_config(self, text):
        """In one step, as an editor or a package does: an earlier reload may be reading the file just now."""
        fresh = self.config_path.with_suffix(".new")
        fresh.write_text(text)
        fresh.replace(self.config_path)

    def reload(self):
        self.signal(signal.SIGHUP)

    def url(self, path):
        return f"http://127.0.0.1:{self.port}{path}"

    def control(self, path, method="GET", body=None):
        """(status, JSON or bytes)"""
        data = None if body is None else json.dumps(body).encode()
        status, headers, answer = http(f"http://127.0.0.1:{self.control_port}{path}", method, data,
                                       {"Content-Type": "application/json"} if data else {})
        is_json = "json" in (headers.get("Content-Type") or "")
        return status, json.loads(answer) if is_json and answer else answer

    def metrics(self):
        return http(f"http://127.0.0.1:{self.metrics_port}/metrics")[2].decode()

    def is_ready(self):
        assert self.running(), f"{self.name} ended with {self.process.returncode}; log:\n{self.log()}"
        try:
            return self.control("/readiness")[0] == 200
        except OSError:
            return False

    def wait_ready(self):
        try:
            wait_for(self.is_ready, "the gateway to be ready")
        except AssertionError as error:
            with contextlib.suppress(OSError):
                error.args = (f"{error}\n/readiness: {self.control('/readiness')}",)
            raise
