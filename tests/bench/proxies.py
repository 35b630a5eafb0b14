"""Starts and stops what is measured: each proxy alone, freshly started, before one backend on the loopback."""

import os
import resource
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).resolve().parent
HOST = "127.0.0.1"


class BenchError(Exception):
    """Something that ends the run; its text says what to do."""


def free_port(_next=[21000 + os.getpid() % 4000]):
    """A port below the ephemeral range, so that no outgoing connection can hold it."""
    for _ in range(2000):
        _next[0] = 21000 + (_next[0] - 21000 + 1) % 9000
        with socket.socket() as probe:
            try:
                probe.bind((HOST, _next[0]))
                return _next[0]
            except OSError:
                continue
    raise BenchError("expected a free port from 21000 to 30000, found none; stop what listens there")


def find_binary(name, package):
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/sbin")
    if not found:
        raise BenchError(f"{name} is not installed; apt-get install {package}, or leave it out with --proxies")
    return found


def descendants(pid):
    """The process and all its children, as a proxy's master and workers are."""
    parents = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except OSError:
                continue
            parents.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(entry.name))
    family, queue = [], [pid]
    while queue:
        family.append(queue.pop())
        queue += parents.get(family[-1], [])
    return family


class Process:
    """A child that is ended by its own id, politely first."""

    def __init__(self, name, command, directory):
        self.name = name
        self.log = Path(directory) / f"{name}.log"
        with open(self.log, "ab") as log:
            self.child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=directory)

    @property
    def pids(self):
        return descendants(self.child.pid)

    def wait_for(self, url, seconds=15):
        limit = time.monotonic() + seconds
        while time.monotonic() < limit:
            if self.child.poll() is not None:
                break
            try:
                with urllib.request.urlopen(url, timeout=2) as answer:
                    if answer.status == 200:
                        return
            except (OSError, urllib.error.URLError):
                pass
            time.sleep(0.02)
        self.stop()
        tail = self.log.read_text(errors="replace")[-2000:]
        raise BenchError(f"{self.name}: expected 200 from {url} within {seconds} s, found none. Its output:\n{tail}")

    def stop(self):
        if self.child.poll() is None:
            self.child.send_signal(signal.SIGTERM)
            try:
                self.child.wait(5)
            except subprocess.TimeoutExpired:
                self.child.kill()
        self.child.wait()


class Fleet:
    """Knows how to start the backend and every proxy; `scenario` may tune a peer (see the templates in peers/)."""

    def __init__(self, directory, tools, tidegate, threads):
        self.directory = Path(directory)
        self.tools = Path(tools).resolve()
        self.tidegate = tidegate
        self.threads = threads
        self.nofile = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        # HAProxy is one process: two descriptors a stream and some of its own.
        self.haproxy_connections = max(1000, (self.nofile - 200) // 2)
        self.backend_address = None
        self.backend = None

    def start_backend(self):
        self.backend_address = f"{HOST}:{free_port()}"
        self.backend = Process("backend", [self.tools / "bench_backend", "--listen", self.backend_address],
                               self.directory)
        self.backend.wait_for(f"http://{self.backend_address}/health")

    def start(self, name, scenario):
        """-> (process, address); for `direct` the process is None: the client goes straight to the backend."""
        if name == "direct":
            return None, self.backend_address
        address = f"{HOST}:{free_port()}"
        command, ready = getattr(self, "_" + name)(address, scenario)
        process = Process(name, [str(part) for part in command], self.directory)
        process.wait_for(f"http://{address}{ready}")
        return process, address

    def _fill(self, template, target, **values):
        text = (HERE / "peers" / template).read_text()
        values.setdefault("BACKEND", self.backend_address)
        values.setdefault("THREADS", self.threads)
        values.setdefault("DIR", self.directory)
        for key, value in values.items():
            text = text.replace(f"@{key}@", str(value))
        path = self.directory / target
        path.write_text(text)
        return path

    def _bare(self, address, scenario):
        return [self.tools / "bare_relay", "--listen", address, "--backend", self.backend_address,
                "--threads", self.threads], "/health"

    def _nginx(self, address, scenario):
        config = self._fill("nginx.conf.in", "nginx.conf", LISTEN=address, NOFILE=self.nofile,
                            CONNECTIONS=self.nofile - 100, USER="user root;" if os.geteuid() == 0 else "",
                            BUFFERING="off" if scenario.kind == "streams" else "on",
                            BODY_BUFFER="512k" if scenario.body_bytes > 16384 else "16k")
        return [find_binary("nginx", "nginx-light"), "-p", self.directory, "-e", self.directory / "nginx.error.log",
                "-c", config], "/health"

    def _haproxy(self, address, scenario):
        config = self._fill("haproxy.cfg.in", "haproxy.cfg", LISTEN=address, CONNECTIONS=self.haproxy_connections,
                            NO_DELAY="option http-no-delay" if scenario.kind == "streams" else "")
        return [find_binary("haproxy", "haproxy"), "-db", "-f", config], "/health"

    def _tidegate(self, address, scenario):
        binary = Path(self.tidegate).resolve()
        config = self._fill("tidegate.yaml.in", "tidegate.yaml", LISTEN=address, METRICS=f"{HOST}:{free_port()}",
                            PLUGINS=binary.parent.parent / "lib/tidegate/plugins")
        return [binary, "serve", "--config", config], "/readiness"
