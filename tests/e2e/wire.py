"""Both ends of HTTP over raw sockets: a client and an engine that send and see exact bytes."""

import json
import os
import select
import socket
import struct

SLOW_BUILD = any(word in os.environ.get("TIDEGATE_PRESET", "") for word in ("asan", "tsan"))
WAIT = float(os.environ.get("E2E_WAIT", "40" if SLOW_BUILD else "10"))
MODEL = "llama-3-8b"


# ---- requests, written out ---------------------------------------------------------------------------------

def chat_body(content="How high is the tide?", **members):
    return json.dumps({"model": MODEL, "messages": [{"role": "user", "content": content}], **members}).encode()


def post(body, path="/v1/chat/completions", headers=()):
    """A POST with a length. `headers`: lines without their ends."""
    lines = [f"POST {path} HTTP/1.1", "Host: gateway", "Content-Type: application/json",
             f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def get(path, method="GET", headers=()):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: gateway", *headers]).encode() + b"\r\n\r\n"


def chunk(data):
    return b"%x\r\n%s\r\n" % (len(data), data)


LAST_CHUNK = b"0\r\n\r\n"
SSE_HEAD = (b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-cache\r\n"
            b"Transfer-Encoding: chunked\r\n\r\n")


def json_response(body=b'{"ok":true}', status=b"200 OK", headers=()):
    lines = [b"HTTP/1.1 " + status, b"Content-Type: application/json", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


# ---- one end of a connection -------------------------------------------------------------------------------

class Closed(AssertionError):
    """The other end has closed where more was expected."""


class Head:
    """A message head: `raw` with its empty line, `start` = the first line, headers in order."""

    def __init__(self, raw):
        self.raw = raw
        lines = raw[:-4].split(b"\r\n")
        self.start = lines[0].decode("latin-1")
        self.headers = []
        for line in lines[1:]:
            name, _, value = line.decode("latin-1").partition(":")
            self.headers.append((name, value.strip()))

    @property
    def status(self):
        return int(self.start.split(" ")[1])

    def all(self, name):
        return [value for key, value in self.headers if key.lower() == name.lower()]

    def get(self, name):
        values = self.all(name)
        return values[0] if values else None


class Message:
    def __init__(self, head, body, trailer=b""):
        self.head, self.body, self.trailer = head, body, trailer

    @property
    def status(self):
        return self.head.status

    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.head.raw + self.body!r}"


class Connection:
    """Exact control over one end of a TCP connection."""

    def __init__(self, sock, name):
        self.sock, self.name = sock, name
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock.settimeout(WAIT)
        self.buffer = b""
        self.received = b""  # everything that ever came

    # -- sending
    def send(self, data):
        self.sock.sendall(data)
        return self

    def send_until_blocked(self, block, quiet=0.3):
        """Sends `block` over and over until the kernel takes nothing for `quiet` seconds; returns the bytes."""
        sent = 0
        self.sock.setblocking(False)
        try:
            while True:
                try:
                    sent += self.sock.send(block[sent % len(block):])
                except BlockingIOError:
                    if not select.select([], [self.sock], [], quiet)[1]:
                        return sent
        finally:
            self.sock.settimeout(WAIT)

    # -- receiving
    def _more(self, what):
        try:
            data = self.sock.recv(1 << 16)
        except TimeoutError:
            raise AssertionError(f"{self.name}: waited {WAIT} s for {what}; have {self.buffer[:2000]!r}") from None
        except ConnectionResetError:
            raise Closed(f"{self.name}: reset while waiting for {what}; have {self.buffer[:2000]!r}") from None
        if not data:
            raise Closed(f"{self.name}: closed while waiting for {what}; have {self.buffer[:2000]!r}")
        self.buffer += data
        self.received += data

    def read_until(self, mark):
        while mark not in self.buffer:
            self._more(f"{mark!r}")
        at = self.buffer.index(mark) + len(mark)
        out, self.buffer = self.buffer[:at], self.buffer[at:]
        return out

    def read_exactly(self, count):
        while len(self.buffer) < count:
            self._more(f"{count} bytes")
        out, self.buffer = self.buffer[:count], self.buffer[count:]
        return out

    def read_head(self):
        return Head(self.read_until(b"\r\n\r\n"))

    def read_chunk(self):
        """One chunk's data; b"" is the last one (its trailer section is left unread)."""
        size = int(self.read_until(b"\r\n")[:-2].split(b";")[0], 16)
        if size == 0:
            return b""
        data = self.read_exactly(size)
        end = self.read_exactly(2)
        assert end == b"\r\n", f"{self.name}: chunk ends with {end!r}"
        return data

    def read_body_bytes(self, count):
        """`count` bytes of a chunked body, however they are cut into chunks."""
        out = b""
        while len(out) < count:
            piece = self.read_chunk()
            if not piece:
                raise Closed(f"{self.name}: body ended after {out!r}")
            out += piece
        assert len(out) == count, f"{self.name}: expected {count} bytes of body, found {out!r}"
        return out

    def read_chunked_rest(self):
        """(data, trailer section) up to the end of a chunked body."""
        data = b""
        while piece := self.read_chunk():
            data += piece
        trailer = b""
        while (line := self.read_until(b"\r\n")) != b"\r\n":
            trailer += line
        return data, trailer

    def read_to_eof(self):
        """What is left up to a FIN. A reset is a failure."""
        while True:
            try:
                self._more("the end of the connection")
            except Closed as closed:
                if "reset" in str(closed):
                    raise
                out, self.buffer = self.buffer, b""
                return out

    def wait_closed(self):
        """Waits until the other end has gone, by FIN or RST; returns "fin" or "reset". Data is dropped."""
        while True:
            try:
                self._more("the other end to close")
                self.buffer = b""
            except Closed as closed:
                return "reset" if "reset" in str(closed) else "fin"

    def wait_hangup(self):
        """The same without reading what is pending, for the end that has been told not to read."""
        poll = select.poll()
        poll.register(self.sock, select.POLLRDHUP | select.POLLHUP | select.POLLERR)
        assert poll.poll(WAIT * 1000), f"{self.name}: waited {WAIT} s for the other end to close"

    def is_quiet(self):
        """Nothing is there to be read, no end either."""
        return not self.buffer and not select.select([self.sock], [], [], 0)[0]

    # -- messages
    def read_message(self, request_method=None):
        """A whole message by its framing; a response without any lasts to the end of the connection."""
        head = self.read_head()
        response = head.start.startswith("HTTP/")
        if response and (request_method == "HEAD" or head.status in (204, 304) or head.status < 200):
            return Message(head, b"")
        if (head.get("Transfer-Encoding") or "").lower() == "chunked":
            return Message(head, *self.read_chunked_rest())
        if (length := head.get("Content-Length")) is not None:
            return Message(head, self.read_exactly(int(length)))
        return Message(head, self.read_to_eof() if response else b"")

    # -- ends
    def finish_sending(self):
        self.sock.shutdown(socket.SHUT_WR)

    def close(self):
        self.sock.close()

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()


class Client(Connection):
    def __init__(self, port, receive_buffer=None):
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(WAIT)
        sock.connect(("127.0.0.1", port))
        super().__init__(sock, "client")

    def exchange(self, request):
        return self.send(request).read_message(request.split(b" ", 1)[0].decode("latin-1"))


class RawEngine:
    """A listening socket that the gateway takes for an engine. The scenario accepts and answers."""

    def __init__(self, name="engine", send_buffer=None, receive_buffer=None):
        self.name = name
        self.listener = socket.socket()
        if send_buffer:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
        if receive_buffer:
            self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(128)
        self.listener.settimeout(WAIT)
        self.port = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.connections = []

    def accept(self):
        try:
            sock, _ = self.listener.accept()
        except TimeoutError:
            raise AssertionError(f"{self.name}: waited {WAIT} s for a connection") from None
        connection = Connection(sock, self.name)
        self.connections.append(connection)
        return connection

    def next_connection(self):
        """The one on which the next request comes: a new one, or one that was kept."""
        while True:
            kept = {one.sock: one for one in self.connections if one.sock.fileno() >= 0}
            ready = select.select([*kept, self.listener], [], [], WAIT)[0]
            assert ready, f"{self.name}: waited {WAIT} s for a request"
            if ready[0] is self.listener:
                return self.accept()
            if ready[0].recv(1, socket.MSG_PEEK):
                return kept[ready[0]]
            ready[0].close()  # kept no longer

    def untouched(self):
        """Nobody waits to be accepted and nothing unread has come on what was accepted."""
        if select.select([self.listener], [], [], 0)[0]:
            return False
        return all(connection.sock.fileno() < 0 or connection.is_quiet() for connection in self.connections)

    def stop_listening(self):
        self.listener.close()

    def close(self):
        self.listener.close()
        for connection in self.connections:
            connection.close()


def accept_any(engines):
    """(engine, connection) of the first one that the gateway connects to."""
    ready = select.select([engine.listener for engine in engines], [], [], WAIT)[0]
    assert ready, f"waited {WAIT} s for a connection to any of {[engine.name for engine in engines]}"
    engine = next(engine for engine in engines if engine.listener is ready[0])
    return engine, engine.accept()


def sse_events(body):
    """The data of each event of a stream."""
    events = []
    for block in body.replace(b"\r\n", b"\n").split(b"\n\n"):
        data = [line[5:].lstrip(b" ") for line in block.split(b"\n") if line.startswith(b"data:")]
        if data:
            events.append(b"\n".join(data))
    return events
