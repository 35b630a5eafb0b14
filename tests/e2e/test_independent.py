"""What only software that is not ours brings along: curl, nginx before a simulated engine, urllib. The scenarios of the
data plane over all pairs of clients and servers: test_independent_relay.py and test_independent_errors.py."""

import hashlib
import json
import shutil
import subprocess
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from harness import MODEL, WAIT, Process, Scenario, chat_body, free_port, http, post, sse_events, wait_for


def received(engine):
    """Bytes of the last body that an engine got."""
    return [one["body_bytes"] for one in engine.debug("requests") if one["method"] == "POST"][-1]


class Curl(Scenario):
    def curl(self, gateway, path, *arguments, body=None):
        command = ["curl", "-sS", "-N", "--max-time", str(int(WAIT)), "-D", str(self.directory / "head"), *arguments]
        if body is not None:
            (self.directory / "body").write_bytes(body)
            command += ["-H", "Content-Type: application/json", "--data-binary", f"@{self.directory / 'body'}"]
        done = subprocess.run([*command, gateway.url(path)], capture_output=True, timeout=WAIT + 5, check=False)
        self.assertEqual(0, done.returncode, done.stderr)
        return int((self.directory / "head").read_text().rsplit("HTTP/", 1)[1].split()[1]), done.stdout

    def setUp(self):
        super().setUp()
        self.assertTrue(shutil.which("curl"), "curl is not installed; ./dev deps build")
        self.engine = self.simulated_engine("--speed", "50")
        self.gw = self.gateway(self.engine)

    def test_a_plain_answer(self):
        status, body = self.curl(self.gw, "/v1/chat/completions", body=chat_body(max_tokens=5))
        self.assertEqual((200, 5), (status, json.loads(body)["usage"]["completion_tokens"]))

    def test_a_stream(self):
        _, body = self.curl(self.gw, "/v1/chat/completions", body=chat_body(max_tokens=30, stream=True))
        events = sse_events(body)
        self.assertEqual(b"[DONE]", events[-1])
        self.assertEqual(30, sum(b'"content":"' in event for event in events) - 1)  # without the role's

    def test_generate_streams_too(self):
        body = json.dumps({"text": "tide", "stream": True, "sampling_params": {"max_new_tokens": 4}}).encode()
        _, answer = self.curl(self.gw, "/generate", body=body)
        self.assertEqual(5, len(sse_events(answer)))

    def test_a_large_body_with_expect_continue_arrives_byte_for_byte(self):
        body = chat_body("tide " * 50_000, max_tokens=1)
        self.assertEqual(200, self.curl(self.gw, "/v1/chat/completions", "-H", "Expect: 100-continue", body=body)[0])
        self.assertEqual(len(body), received(self.engine))

    def test_a_chunked_body_arrives_byte_for_byte(self):
        body = chat_body("tide " * 1000, max_tokens=1)
        self.assertEqual(200, self.curl(self.gw, "/v1/chat/completions", "-H", "Transfer-Encoding: chunked",
                                        body=body)[0])
        self.assertEqual(len(body), received(self.engine))

    def test_http_1_0(self):
        status, body = self.curl(self.gw, "/v1/chat/completions", "--http1.0",
                                 body=chat_body(max_tokens=5, stream=True))
        self.assertEqual((200, b"[DONE]"), (status, sse_events(body)[-1]))

    def test_head(self):
        self.assertEqual((200, b""), self.curl(self.gw, "/v1/models", "-I", "-o", "/dev/null"))

    def test_one_connection_for_several_requests(self):
        done = subprocess.run(["curl", "-sS", "-w", "%{num_connects}\n", "-o", "/dev/null", "-o", "/dev/null",
                               self.gw.url("/v1/models"), self.gw.url("/v1/models")],
                              capture_output=True, timeout=WAIT, check=True)
        self.assertEqual(["1", "0"], done.stdout.decode().split())

    def test_errors_are_errors_to_curl_too(self):
        status, body = self.curl(self.gw, "/v1/chat/completions", body=b"{")
        self.assertEqual((400, "invalid_json"), (status, json.loads(body)["error"]["code"]))

    def test_a_killed_curl_frees_its_place(self):
        (self.directory / "body").write_bytes(chat_body(max_tokens=100_000, ignore_eos=True, stream=True))
        curl = subprocess.Popen(["curl", "-sSN", "--data-binary", f"@{self.directory / 'body'}",
                                 self.gw.url("/v1/chat/completions")], stdout=subprocess.PIPE)
        self.assertIn(b"data:", curl.stdout.readline())
        curl.kill()
        curl.wait()
        curl.stdout.close()
        wait_for(lambda: self.engine.state()["aborted"] == 1, "the engine to be let go")


NGINX = """
daemon off; master_process off; pid {directory}/nginx.pid; error_log stderr;
events {{ worker_connections 512; }}
http {{
  access_log off; client_body_temp_path {directory}/b; proxy_temp_path {directory}/p;
  fastcgi_temp_path {directory}/f; uwsgi_temp_path {directory}/u; scgi_temp_path {directory}/s;
  client_max_body_size 64m; keepalive_requests 1000000;
  upstream engine {{ server {engine}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port};
    location /v1/completions {{ default_type application/json; return 200 '{{"by":"nginx"}}'; }}
    location /v1/embeddings {{ return 500; }}
    location /generate {{ root {directory}; error_page 405 =200 $uri; }}
    location / {{
      proxy_pass http://engine; proxy_buffering off; proxy_http_version 1.1; proxy_set_header Connection "";
      client_body_buffer_size 1m;
    }}
  }}
}}
"""


class Nginx(Scenario):
    def setUp(self):
        super().setUp()
        self.assertTrue(shutil.which("nginx"), "nginx is not installed; ./dev deps test")
        self.engine = self.simulated_engine("--speed", "50")
        self.port = free_port()
        (self.directory / "nginx.conf").write_text(NGINX.format(
            directory=self.directory, port=self.port, engine=f"127.0.0.1:{self.engine.port}"))
        self.nginx = self.start(Process("nginx", [shutil.which("nginx"), "-c", self.directory / "nginx.conf",
                                                  "-e", "stderr"], self.directory))
        self.gw = self.gateway(f"http://127.0.0.1:{self.port}", config={
            "health": {"enabled": True, "interval": "50ms", "successes": 1}})

    def ask(self, body, path="/v1/chat/completions"):
        client = self.client(self.gw)
        return client, client.exchange(post(body, path))

    def test_a_plain_answer(self):
        _, answer = self.ask(chat_body(), "/v1/completions")
        self.assertEqual((200, {"by": "nginx"}), (answer.status, answer.json()))

    def test_a_stream_through_nginx(self):
        _, answer = self.ask(chat_body(max_tokens=30, stream=True))
        self.assertEqual(b"[DONE]", sse_events(answer.body)[-1])

    def test_a_body_arrives_byte_for_byte(self):
        body = chat_body("tide " * 60_000, max_tokens=1)
        _, answer = self.ask(body)
        self.assertEqual(200, answer.status)
        self.assertEqual(len(body), received(self.engine))

    def test_a_file_as_the_answer_is_the_file(self):
        payload = bytes(range(256)) * 20_000
        (self.directory / "generate").write_bytes(payload)
        _, answer = self.ask(json.dumps({"text": "x"}).encode(), "/generate")
        self.assertEqual(hashlib.sha256(payload).digest(), hashlib.sha256(answer.body).digest())

    def test_nginxs_error_is_the_clients(self):
        _, answer = self.ask(json.dumps({"model": MODEL, "input": "x"}).encode(), "/v1/embeddings")
        self.assertEqual(500, answer.status)

    def test_the_connection_to_nginx_is_kept_over_many_requests(self):
        client, _ = self.ask(chat_body(), "/v1/completions")
        for _ in range(50):
            self.assertEqual(200, client.exchange(post(chat_body(), "/v1/completions")).status)

    def test_nginx_gone_is_502_or_503(self):
        self.nginx.stop()
        _, answer = self.ask(chat_body())
        self.assert_error(answer, (502, 503))


class PythonEngine(BaseHTTPRequestHandler):
    """HTTP/1.0 or 1.1, close-delimited, chunked or with a length, as the request's `user` asks."""

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.bodies.append(body)
        kind = json.loads(body).get("user")
        events = [b'data: {"choices":[{"delta":{"content":"%d"}}]}\n\n' % n for n in range(3)] + [b"data: [DONE]\n\n"]
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream" if kind != "length" else "application/json")
        if kind == "length":
            self.send_header("Content-Length", "11")
            self.end_headers()
            self.wfile.write(b'{"ok":true}')
        elif kind == "chunked":
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            for event in events:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(event), event))
            self.wfile.write(b"0\r\n\r\n")
        else:
            self.send_header("Connection", "close")
            self.end_headers()
            for event in events:
                self.wfile.write(event)
            self.close_connection = True

    def log_message(self, *_):
        pass


class Python(Scenario):
    def ask(self, gateway, user):
        body = chat_body(user=user, stream=True)
        status, _, answer = http(gateway.url("/v1/chat/completions"), "POST", body)
        self.assertEqual(200, status)
        return answer

    def test_pythons_server_in_every_framing(self):
        for protocol in ("HTTP/1.0", "HTTP/1.1"):
            handler = type("Handler", (PythonEngine,), {"protocol_version": protocol})
            server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
            server.bodies = []
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.addCleanup(server.server_close)
            self.addCleanup(server.shutdown)
            gateway = self.gateway(f"http://127.0.0.1:{server.server_port}", name=f"gateway-{protocol[-1]}")
            for user in ("length", "close") + (("chunked",) if protocol == "HTTP/1.1" else ()):
                with self.subTest(protocol=protocol, framing=user):
                    answer = self.ask(gateway, user)
                    end = b'{"ok":true}' if user == "length" else b"data: [DONE]\n\n"
                    self.assertTrue(answer.endswith(end), answer)
                    self.assertEqual(chat_body(user=user, stream=True), server.bodies[-1])


if __name__ == "__main__":
    unittest.main()
