"""Engines to choose from: raw sockets of ours, Python's http.server. Each plays the same parts.

A part is how a server answers (Server.part, which may change between requests):

  plain         200, PAYLOAD with its length          early     103 first, then plain
  stream        chunked events, the first alone       none      204
  trailers      chunked, a trailer behind             same      304
  closing       1.1, ended by the connection's end    hang      reads, says nothing
  old           1.0, the same                         reset     reads, resets
  dying         one event, then a reset               garbage   reads, sends what is no HTTP
  endless       events until nobody takes them

What was asked stands in `records`; `asked`, `blocked` and `gone` are events: a request has been read whole, the
kernel takes no more of the answer, the gateway has closed. `go` lets a stream pass its first event.

nginx stands in peer_nginx.py.
"""

import collections
import contextlib
import http.server
import select
import socket
import struct
import threading

from wire import LAST_CHUNK, WAIT, Closed, Connection, chunk

PAYLOAD = bytes(range(256)) * 300
EVENTS = [b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % n for n in range(20)] + [b"data: [DONE]\n\n"]
STREAM = b"".join(EVENTS)
TRAILER = ("X-Checksum", "42")
NAP = 0.5  # a send that is not taken for so long blocks

Record = collections.namedtuple("Record", "method target headers body connection")


def set_linger(sock):
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Server:
    """What the servers have in common. `parts`: those that it can play."""

    def __init__(self, part="plain"):
        self.part = part
        self.records = []
        self.asked, self.blocked, self.gone, self.go = (threading.Event() for _ in range(4))
        self.stopping = False

    def wait(self, event, what):
        assert event.wait(WAIT), f"{self.name}: waited {WAIT} s for {what}"

    def note(self, *record):
        self.records.append(Record(*record))
        self.asked.set()

    # -- what a part does that is the same for every server
    def wait_gone(self, sock):
        """Until the other end has closed; bytes that came are not read, so that a pause stays a pause."""
        poll = select.poll()
        poll.register(sock, select.POLLRDHUP)
        while not self.stopping:
            if poll.poll(50):
                self.gone.set()
                return

    def wait_go(self, sock):
        """False: the gateway has gone before `go`."""
        poll = select.poll()
        poll.register(sock, select.POLLRDHUP)
        while not self.go.wait(0.005):
            if self.stopping or poll.poll(0):
                self.gone.set()
                return False
        return True

    def send_endlessly(self, sock):
        """Ends when the gateway has gone; says so when nothing is taken."""
        block = chunk(b"data: %s\n\n" % (b"x" * 200)) * 64
        sock.setblocking(False)
        poll = select.poll()
        poll.register(sock, select.POLLOUT | select.POLLRDHUP)
        at = 0
        while not self.stopping:
            ready = poll.poll(NAP * 1000)
            if not ready:
                self.blocked.set()
                continue
            if ready[0][1] & (select.POLLRDHUP | select.POLLERR | select.POLLHUP):
                break
            try:
                at = (at + sock.send(block[at:])) % len(block)
            except BlockingIOError:
                continue
            except OSError:
                break
        self.gone.set()


class RawServer(Server):
    """Exact bytes from a socket."""
    name = "raw"
    parts = {"plain", "stream", "trailers", "closing", "old", "early", "none", "same", "hang", "reset", "garbage",
             "dying", "endless"}
    ANSWERS = {
        "plain": b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n"
                 % len(PAYLOAD) + PAYLOAD,
        "trailers": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Checksum\r\n\r\n" + chunk(PAYLOAD)
                    + b"0\r\nX-Checksum: 42\r\n\r\n",
        "closing": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + PAYLOAD,
        "old": b"HTTP/1.0 200 OK\r\n\r\n" + PAYLOAD,
        "none": b"HTTP/1.1 204 No Content\r\n\r\n",
        "same": b'HTTP/1.1 304 Not Modified\r\nETag: "1"\r\n\r\n',
        "garbage": b"\x16\x03\x01 this is no HTTP\r\n\r\n",
    }
    ANSWERS["early"] = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + ANSWERS["plain"]
    EVENT_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"

    def __init__(self, directory=None, part="plain"):
        super().__init__(part)
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        self.connections = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, peer = self.listener.accept()
                self.connections.append(sock)
                threading.Thread(target=self._serve, args=(sock, peer), daemon=True).start()

    def _serve(self, sock, peer):
        connection = Connection(sock, self.name)
        sock.settimeout(None)  # a kept connection may be quiet for as long as it likes
        with contextlib.suppress(OSError, Closed), sock:
            while True:
                message = connection.read_message()
                method, target, _ = message.head.start.split(" ")
                self.note(method, target, message.head.headers, message.body, peer)
                if not self._answer(connection, method):
                    return

    def _answer(self, connection, method):
        """True: the connection is kept."""
        part, sock = self.part, connection.sock
        if part in self.ANSWERS:
            answer = self.ANSWERS[part]
            connection.send(answer[:answer.index(b"\r\n\r\n") + 4] if method == "HEAD" else answer)
            return part not in ("closing", "old", "garbage")
        if part == "reset":
            set_linger(sock)
        elif part == "hang":
            self.wait_gone(sock)
        elif part == "endless":
            connection.send(self.EVENT_HEAD)
            self.send_endlessly(sock)
        else:
            connection.send(self.EVENT_HEAD + chunk(EVENTS[0]))
            if self.wait_go(sock):
                if part == "stream":
                    connection.send(b"".join(map(chunk, EVENTS[1:])) + LAST_CHUNK)
                    return True
                set_linger(sock)
        return False

    def stop(self):
        self.stopping = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        self.listener.close()
        for sock in self.connections:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)


class PythonHandler(http.server.BaseHTTPRequestHandler):
    """Everything by http.server's own methods, but where a part is to break off."""
    protocol_version = "HTTP/1.1"

    def handle_any(self):
        body = self.read_body()
        self.server.owner.note(self.command, self.path, self.headers.items(), body, self.client_address)
        getattr(self, "part_" + self.server.owner.part)()

    do_POST = do_GET = do_HEAD = do_DELETE = handle_any

    def read_body(self):
        if (self.headers.get("Transfer-Encoding") or "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", "0")))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        while self.rfile.readline() not in (b"\r\n", b""):
            pass
        return body

    def head(self, status, *headers):
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()

    def part_plain(self):
        self.head(200, ("Content-Type", "application/octet-stream"), ("Content-Length", str(len(PAYLOAD))))
        if self.command != "HEAD":
            self.wfile.write(PAYLOAD)

    def part_early(self):
        self.send_response_only(103)
        self.send_header("Link", "</a>")
        self.end_headers()
        self.part_plain()

    def part_trailers(self):
        self.head(200, ("Transfer-Encoding", "chunked"), ("Trailer", TRAILER[0]))
        self.wfile.write(chunk(PAYLOAD) + b"0\r\n%s: %s\r\n\r\n" % tuple(one.encode() for one in TRAILER))

    def part_closing(self):
        self.head(200, ("Connection", "close"))
        self.wfile.write(PAYLOAD)

    def part_old(self):
        self.protocol_version = "HTTP/1.0"
        self.head(200)
        self.wfile.write(PAYLOAD)
        self.close_connection = True

    def part_none(self):
        self.head(204)

    def part_same(self):
        self.head(304, ("ETag", '"1"'))

    def part_reset(self):
        self.break_off()

    def part_garbage(self):
        self.wfile.write(b"\x16\x03\x01 this is no HTTP\r\n\r\n")
        self.close_connection = True

    def part_hang(self):
        self.server.owner.wait_gone(self.connection)
        self.close_connection = True

    def event_head(self):
        self.head(200, ("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked"))

    def part_endless(self):
        self.event_head()
        self.server.owner.send_endlessly(self.connection)
        self.close_connection = True

    def part_stream(self):
        self.event_head()
        self.wfile.write(chunk(EVENTS[0]))
        if self.server.owner.wait_go(self.connection):
            self.wfile.write(b"".join(map(chunk, EVENTS[1:])) + LAST_CHUNK)
        else:
            self.close_connection = True

    def part_dying(self):
        self.event_head()
        self.wfile.write(chunk(EVENTS[0]))
        self.server.owner.wait_go(self.connection)
        self.break_off()

    def break_off(self):
        set_linger(self.connection)
        self.close_connection = True

    def log_message(self, *_):
        pass


class ThreadingServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def get_request(self):
        sock, peer = super().get_request()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 64 * 1024)
        self.owner.connections.append(sock)
        return sock, peer

    def shutdown_request(self, request):
        self.close_request(request)  # without the shutdown of the base, which would turn a reset into a FIN

    def handle_error(self, request, client_address):
        pass  # the gateway has gone in the middle, as scenarios mean it to


class PythonServer(Server):
    name = "python"
    parts = RawServer.parts

    def __init__(self, directory=None, part="plain"):
        super().__init__(part)
        self.connections = []
        self.server = ThreadingServer(("127.0.0.1", 0), PythonHandler)
        self.server.owner = self
        self.port = self.server.server_port
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    def stop(self):
        if self.stopping:
            return
        self.stopping = True
        self.server.shutdown()
        self.server.server_close()
        for sock in self.connections:
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RDWR)
