"""Many streams and a steady flow of plain requests at once, by asyncio, with every byte counted."""

import asyncio
import json
import time

from wire import LAST_CHUNK, SSE_HEAD, WAIT, Head, chat_body, chunk, json_response, post


async def read_head(reader):
    return Head(await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), WAIT))


async def read_chunk(reader):
    """One chunk's data; b"" is the last one."""
    size = int(await asyncio.wait_for(reader.readline(), WAIT), 16)
    return (await asyncio.wait_for(reader.readexactly(size + 2), WAIT))[:-2]


class Engine:
    """Answers plain requests with the headers that came; streams go on until they are told to end."""

    def __init__(self):
        self.streams = {}  # X-Stream -> (writer, future of its end)
        self.sent = {}     # X-Stream -> the bytes of its body
        self.connections = []

    async def start(self):
        self.server = await asyncio.start_server(self.serve, "127.0.0.1", 0, backlog=4096)
        self.url = f"http://127.0.0.1:{self.server.sockets[0].getsockname()[1]}"

    async def serve(self, reader, writer):
        self.connections.append(writer)
        try:
            while True:
                head = Head(await reader.readuntil(b"\r\n\r\n"))
                await reader.readexactly(int(head.get("Content-Length")))
                name = head.get("X-Stream")
                if name is None:
                    writer.write(json_response(json.dumps(dict(head.headers)).encode()))
                    continue
                ended = asyncio.get_running_loop().create_future()
                self.streams[name] = (writer, ended)
                writer.write(SSE_HEAD)
                self.say(name, f"data: {name} by {head.get('X-Build')}\n\n".encode())
                await ended
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def say(self, name, event):
        self.sent[name] = self.sent.get(name, b"") + event
        self.streams[name][0].write(chunk(event))

    def say_all(self, event):
        for name in self.streams:
            self.say(name, event)

    def end_all(self):
        self.say_all(b"data: [DONE]\n\n")
        for writer, ended in self.streams.values():
            writer.write(LAST_CHUNK)
            ended.set_result(None)
        self.streams.clear()

    async def stop(self):
        self.server.close()
        for writer in self.connections:
            writer.close()
        await asyncio.sleep(0)


class Streams:
    """Open streams; what each of them got."""

    def __init__(self, port):
        self.port, self.got, self.tasks = port, {}, []

    async def open(self, names):
        """Returns when each of them has its first event."""
        first = []
        for name in names:
            first.append(asyncio.get_running_loop().create_future())
            self.tasks.append(asyncio.create_task(self._run(name, first[-1])))
        await asyncio.gather(*first)

    async def _run(self, name, first):
        try:
            reader, writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", self.port), WAIT)
            writer.write(post(chat_body(stream=True), headers=[f"X-Stream: {name}", "Connection: close"]))
            head = await read_head(reader)
            assert head.status == 200, head.raw
            self.got[name] = b""
            while True:
                size = int(await reader.readline(), 16)  # silence may last
                data = (await asyncio.wait_for(reader.readexactly(size + 2), WAIT))[:-2]
                if not data:
                    break
                self.got[name] += data
                if not first.done() and b"\n\n" in self.got[name]:
                    first.set_result(None)
            assert await asyncio.wait_for(reader.read(), WAIT) == b"", "bytes behind the end of a stream"
            writer.close()
        except Exception as error:
            if first.done():
                raise
            first.set_exception(error)

    async def ended(self):
        await asyncio.wait_for(asyncio.gather(*self.tasks), 3 * WAIT)


class Steady:
    """Plain requests without a pause on a few connections. `mark` is the header that says who answered."""

    def __init__(self, port, mark, connections=4):
        self.port, self.mark = port, mark
        self.latest = [None] * connections
        self.counts = [0] * connections
        self.answers = []  # (connection, mark)
        self.changed = asyncio.Condition()
        self.stopping = False
        self.tasks = [asyncio.create_task(self._run(n)) for n in range(connections)]

    async def _run(self, number):
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        request = post(chat_body())
        while not self.stopping:
            writer.write(request)
            head = await read_head(reader)
            body = await asyncio.wait_for(reader.readexactly(int(head.get("Content-Length"))), WAIT)
            assert head.status == 200, head.raw + body
            mark = json.loads(body).get(self.mark)
            self.answers.append((number, mark))
            self.counts[number] += 1
            async with self.changed:
                self.latest[number] = mark
                self.changed.notify_all()
            await asyncio.sleep(0.005)  # its pace; nothing is waited for
        writer.close()

    async def all_say(self, mark, within):
        """Every connection gets this answer; returns after how long. A request that failed is raised here."""
        began = time.monotonic()
        async def wait():
            async with self.changed:
                await self.changed.wait_for(lambda: all(one == mark for one in self.latest))
        waiting = asyncio.create_task(wait())
        await asyncio.wait([waiting, *self.tasks], timeout=within, return_when=asyncio.FIRST_COMPLETED)
        for task in self.tasks:
            if task.done():
                task.result()
        assert waiting.done(), f"after {within} s not every connection got {mark}: {self.latest}"
        return time.monotonic() - began

    async def all_answered(self, times):
        """Every connection has got that many answers."""
        async with self.changed:
            await asyncio.wait_for(self.changed.wait_for(lambda: min(self.counts) >= times), WAIT)

    async def stop(self):
        self.stopping = True
        await asyncio.gather(*self.tasks)
