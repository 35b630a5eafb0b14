"""Clients to choose from: raw sockets of ours, and curl. Each begins an exchange, which can be watched and left.

  begin(request)      -> an exchange: see(bytes), answer(), leave(how)
  several(requests)   -> (answers, connections made), one connection for all if the gateway keeps it

An Answer has `whole`: false where the client says that the answer was cut short.
"""

import dataclasses
import os
import pathlib
import select
import shutil
import signal
import subprocess

from processes import wait_for
from wire import WAIT, Closed, Head, Client as Socket, chunk


@dataclasses.dataclass
class Request:
    body: bytes = b""
    path: str = "/v1/chat/completions"
    method: str = "POST"
    headers: tuple = ()  # lines
    chunked: bool = False
    expect: bool = False
    version: str = "1.1"
    stall: bool = False  # the upload stops after a part (curl: sends a little each second)
    slow: bool = False   # the answer is hardly read


@dataclasses.dataclass
class Answer:
    head: Head
    body: bytes
    interim: list
    trailers: list
    whole: bool

    @property
    def status(self):
        return self.head.status


# ---- ours --------------------------------------------------------------------------------------------------

class RawExchange:
    def __init__(self, port, request, sock=None):
        self.request = request
        self.sock = sock or Socket(port, receive_buffer=16 * 1024 if request.slow else None)
        head = [f"{request.method} {request.path} HTTP/{request.version}", "Host: gateway", *request.headers]
        body = request.body
        if request.chunked:
            head.append("Transfer-Encoding: chunked")
            body = b"".join(chunk(body[at:at + 997]) for at in range(0, len(body), 997)) + b"0\r\n\r\n"
        elif request.method == "POST":
            head.append(f"Content-Length: {len(body)}")
        if request.expect:
            head.append("Expect: 100-continue")
        self.interim = []
        self.sock.send("\r\n".join(head).encode() + b"\r\n\r\n")
        if request.expect and not self._next_head(until=100):
            return
        self._send(body[:len(body) // 2] if request.stall else body)

    def _send(self, body):
        try:
            self.sock.send(body)
        except (BrokenPipeError, ConnectionResetError):
            pass  # refused before all of it was taken: the answer says why

    def _next_head(self, until=None):
        """Reads interim heads; None at a final one, which is put back."""
        while True:
            head = self.sock.read_head()
            if head.status >= 200:
                self.sock.buffer = head.raw + self.sock.buffer
                return None
            self.interim.append(head.status)
            if head.status == until:
                return head

    def see(self, mark):
        while mark not in self.sock.received:
            self.sock._more(f"{mark!r}")

    def answer(self):
        self._next_head()
        head = Head(self.sock.buffer[:self.sock.buffer.index(b"\r\n\r\n") + 4])
        try:
            message = self.sock.read_message(self.request.method)
        except Closed:
            return Answer(head, b"", self.interim, [], False)
        trailers = [tuple(line.split(": ", 1)) for line in message.trailer.decode().splitlines()]
        return Answer(head, message.body, self.interim, trailers, True)

    def leave(self, how):
        {"fin": self.sock.close, "rst": self.sock.reset, "half": self.sock.finish_sending}[how]()

    def close(self):
        self.sock.close()


class RawClient:
    name = "raw"

    def __init__(self, gateway, directory):
        self.gateway, self.exchanges = gateway, []

    def begin(self, request):
        self.exchanges.append(RawExchange(self.gateway.port, request))
        return self.exchanges[-1]

    def ask(self, request):
        return self.begin(request).answer()

    def several(self, requests):
        first = self.begin(requests[0])
        answers = [first.answer()]
        for request in requests[1:]:
            answers.append(RawExchange(self.gateway.port, request, first.sock).answer())
        return answers, 1

    def close(self):
        for exchange in self.exchanges:
            exchange.close()


# ---- curl --------------------------------------------------------------------------------------------------

class CurlExchange:
    """One curl. Killed by its pid it leaves by FIN, and by RST where something has come that it has not read."""
    def __init__(self, command, head_path):
        self.head_path = head_path
        self.body = b""
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)

    def _more(self, what):
        assert select.select([self.process.stdout], [], [], WAIT)[0], f"curl: waited {WAIT} s for {what}"
        piece = os.read(self.process.stdout.fileno(), 1 << 16)
        self.body += piece
        return piece

    def see(self, mark):
        while mark not in self.body:
            assert self._more(f"{mark!r}"), f"curl ended before {mark!r}: {self.process.stderr.read()}"

    def answer(self):
        while self._more("the end of the answer"):
            pass
        try:
            code = self.process.wait(WAIT)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"curl: still running {WAIT} s after its answer") from None
        assert code in (0, 18, 55, 56), f"curl ended with {code}: {self.process.stderr.read()}"
        return parse_dump(self.head_path.read_bytes(), self.body, code in (0, 55))

    def unread(self):
        """Bytes that the kernel holds for this curl."""
        mine = set()
        for entry in pathlib.Path(f"/proc/{self.process.pid}/fd").iterdir():
            target = os.readlink(entry)
            if target.startswith("socket:["):
                mine.add(target[8:-1])
        rows = (line.split() for line in pathlib.Path("/proc/net/tcp").read_text().splitlines()[1:])
        return sum(int(row[4].split(":")[1], 16) for row in rows if row[9] in mine)

    def leave(self, how):
        if how == "rst":
            wait_for(self.unread, "bytes that curl has not read")
        self.process.kill()
        self.process.wait()

    def freeze(self):
        """It reads no more, so that what comes stays unread."""
        self.process.send_signal(signal.SIGSTOP)

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        self.process.stderr.close()


def parse_dump(dump, body, whole):
    """curl's -D: the heads in order, trailers behind the last one."""
    *heads, rest = dump.split(b"\r\n\r\n")
    trailers = []
    if heads and not heads[-1].startswith(b"HTTP/"):
        trailers = heads.pop().decode().split("\r\n")
    trailers += rest.decode().splitlines()
    assert heads, f"curl has seen no head: {dump!r}"
    parsed = [Head(head + b"\r\n\r\n") for head in heads]
    return Answer(parsed[-1], body, [head.status for head in parsed[:-1]],
                  [tuple(line.split(": ", 1)) for line in trailers if line], whole)


class CurlClient:
    name = "curl"

    def __init__(self, gateway, directory):
        self.program = shutil.which("curl")
        assert self.program, "curl is not installed; ./dev deps build"
        self.gateway, self.directory, self.exchanges, self.files = gateway, directory, [], 0

    def _file(self, what, content=None):
        self.files += 1
        path = self.directory / f"curl-{self.files}.{what}"
        if content is not None:
            path.write_bytes(content)
        return path

    def _arguments(self, request, head_path):
        out = ["--noproxy", "*", "-sS", "-N", "--max-time", str(int(3 * WAIT)), "-D", head_path,
               "--http1.0" if request.version == "1.0" else "--http1.1", "-H", "Expect:"]
        if request.expect:
            out[-1] = "Expect: 100-continue"
        for line in request.headers:
            out += ["-H", line]
        if request.slow or request.stall:
            out += ["--limit-rate", "1k"]
        if request.method == "HEAD":
            out += ["-I"]
        elif request.method != "POST":
            out += ["-X", request.method]
        else:
            out += ["--data-binary", f"@{self._file('body', request.body)}"]
            if request.chunked:
                out += ["-H", "Transfer-Encoding: chunked"]
        return out

    def begin(self, request):
        head_path = self._file("head")
        command = [self.program, "-q", *self._arguments(request, head_path), self.gateway.url(request.path)]
        self.exchanges.append(CurlExchange(command, head_path))
        return self.exchanges[-1]

    def ask(self, request):
        return self.begin(request).answer()

    def several(self, requests):
        command, paths = [self.program, "-q"], []
        for request in requests:
            paths.append((self._file("head"), self._file("out")))
            command += ["--next"] if len(paths) > 1 else []
            command += [*self._arguments(request, paths[-1][0]), "-o", paths[-1][1], "-w", "%{num_connects}\n",
                        self.gateway.url(request.path)]
        done = subprocess.run(command, capture_output=True, timeout=3 * WAIT, check=True)
        answers = []
        for request, (head_path, out) in zip(requests, paths):
            head, body = head_path.read_bytes(), out.read_bytes() if out.exists() else b""
            # -I prints what it dumps.
            answers.append(parse_dump(head, body.removeprefix(head) if request.method == "HEAD" else body, True))
        return answers, sum(map(int, done.stdout.split()))

    def close(self):
        for exchange in self.exchanges:
            exchange.close()


CLIENTS = (RawClient, CurlClient)
