"""Scenarios over every pair of a client and a server: our raw sockets, curl; our raw sockets, Python's http.server,
nginx. In most pairs at least one end is not ours; in some neither is.

A scenario is a method `each_...` of a Pair; `expand` makes of it one test for each pair that can express it:
test_<scenario>__<client>_<server>. `@parts` names what a server must be able to play, `@clients` the clients.
"""

import json

from harness import Scenario, chat_body, wait_for
from peer_clients import CLIENTS
from peer_nginx import NginxServer
from peer_servers import PythonServer, RawServer

SERVERS = (RawServer, PythonServer, NginxServer)
ODD_BODY = ('{ "model" :\t"llama-3-8b",\r\n "messages":[{"role":"user","content":"\\u00e9\\ud83c\\udf0a \u00e9"}],'
            ' "temperature":1e-1,"seed": 0}\n\n ').encode()
LARGE_BODY = chat_body("".join(chr(35 + i % 57) for i in range(400_000)))
STREAMED = chat_body(stream=True)


def parts(*names):
    def mark(scenario):
        scenario.parts = names
        return scenario
    return mark


def clients(*names):
    def mark(scenario):
        scenario.clients = names
        return scenario
    return mark


def expand(case):
    for name, scenario in list(vars(case).items()):
        if not name.startswith("each_"):
            continue
        for client in CLIENTS:
            if client.name not in getattr(scenario, "clients", (client.name,)):
                continue
            for server in SERVERS:
                if not set(getattr(scenario, "parts", ("plain",))) <= server.parts:
                    continue

                def test(self, scenario=scenario, client=client, server=server):
                    self.client_kind, self.server_kind = client, server
                    scenario(self)
                setattr(case, f"test_{name[5:]}__{client.name}_{server.name}", test)
    return case


class Pair(Scenario):
    def server(self, part="plain"):
        server = self.server_kind(self.directory, part=part)
        self.addCleanup(server.stop)
        return server

    def between(self, *servers, **config):
        """A gateway to these servers, and the client that asks it."""
        self.gw = self.gateway(*(f"http://127.0.0.1:{one.port}" for one in servers), config=config)
        client = self.client_kind(self.gw, self.directory)
        self.addCleanup(client.close)
        return client

    def pair(self, part="plain", **config):
        server = self.server(part)
        return self.between(server, **config), server

    def assert_envelope(self, answer, status, code=None):
        self.assertEqual(status, answer.status, answer)
        error = json.loads(answer.body)["error"]
        self.assertEqual({"type", "code", "message", "param"}, set(error))
        if code:
            self.assertEqual(code, error["code"])

    def sole_record(self, server, count=1):
        """The last of exactly so many. nginx writes its log behind the answer."""
        wait_for(lambda: len(server.records) >= count, f"{count} requests in {server.name}'s record")
        self.assertEqual(count, len(server.records), server.records)
        return server.records[-1]
