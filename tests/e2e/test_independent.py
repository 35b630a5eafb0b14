"""The same behaviours with peers that we did not write: curl as the client, nginx and Python's own server as engines."""

import http.server
import json
import shutil
import subprocess
import threading
import unittest

from harness import MODEL, Scenario, chat_body, free_port, wait_for, worker

TEXT = "How high is the tide?"
NGINX = shutil.which("nginx") or shutil.which("/usr/sbin/nginx")


def curl(*arguments, body=None):
    """(exit code, what curl wrote)"""
    done = subprocess.run(["curl", "--silent", "--show-error", "--max-time", "20", *arguments], input=body,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False)
    return done.returncode, done.stdout


class PythonEngine(http.server.BaseHTTPRequestHandler):
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


class Curl(Scenario):
    def setUp(self):
        super().setUp()
        self.engine = self.simulated_engine("--speed", "200")
        self.gw = self.gateway(self.engine)
        self.chat = self.gw.url("/v1/chat/completions")

    def test_a_plain_request(self):
        code, answer = curl("--fail", "-H", "Content-Type: application/json", "--data-binary", "@-", self.chat,
                            body=chat_body(TEXT, max_tokens=4))
        self.assertEqual(0, code, answer)
        self.assertEqual(4, json.loads(answer)["usage"]["completion_tokens"])

    def test_a_stream_ends_with_done(self):
        code, answer = curl("--no-buffer", "--data-binary", "@-", self.chat,
                            body=chat_body(TEXT, max_tokens=4, stream=True))
        self.assertEqual(0, code, answer)
        self.assertTrue(answer.endswith(b"data: [DONE]\n\n"), answer)

    def test_http_1_0_chunked_uploads_and_expect(self):
        for extra in (["--http1.0"], ["-H", "Transfer-Encoding: chunked"], ["-H", "Expect: 100-continue"]):
            with self.subTest(extra=extra):
                code, answer = curl(*extra, "--data-binary", "@-", self.chat, body=chat_body(TEXT, max_tokens=2))
                self.assertEqual(0, code, answer)
                self.assertEqual(2, json.loads(answer)["usage"]["completion_tokens"])

    def test_several_requests_share_a_connection(self):
        code, answer = curl("--write-out", "%{num_connects} ", "--data-binary", chat_body(TEXT, max_tokens=1).decode(),
                            "-o", "/dev/null", self.chat, "-o", "/dev/null", self.chat, "-o", "/dev/null", self.chat)
        self.assertEqual((0, b"1 0 0 "), (code, answer))

    def test_errors_have_their_status(self):
        for body, status in ((b"{", b"400"), (b'{"model":"nope","messages":[]}', b"404")):
            code, answer = curl("-o", "/dev/null", "--write-out", "%{http_code}", "--data-binary", "@-", self.chat, body=body)
            self.assertEqual((0, status), (code, answer))

    def test_a_client_that_gives_up_frees_its_engine(self):
        self.engine.faults(stall=1, after=2)
        code, _ = curl("--max-time", "1", "--data-binary", "@-", self.chat, body=chat_body(TEXT, max_tokens=50, stream=True))
        self.assertEqual(28, code)  # curl's own time limit
        wait_for(lambda: self.gw.control("/workers")[1]["workers"][0]["load"] == 0, "the load to return to zero")


class Servers(Scenario):
    def ask(self, gateway, user):
        return curl("--include", "--data-binary", "@-", gateway.url("/v1/chat/completions"),
                    body=chat_body(TEXT, user=user, stream=True))

    def test_pythons_server_in_every_framing(self):
        for protocol in ("HTTP/1.0", "HTTP/1.1"):
            handler = type("Handler", (PythonEngine,), {"protocol_version": protocol})
            server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
            server.bodies = []
            threading.Thread(target=server.serve_forever, daemon=True).start()
            self.addCleanup(server.server_close)
            self.addCleanup(server.shutdown)
            gateway = self.gateway(f"http://127.0.0.1:{server.server_port}", name=f"gateway-{protocol[-1]}")
            for user in ("length", "close") + (("chunked",) if protocol == "HTTP/1.1" else ()):
                with self.subTest(protocol=protocol, framing=user):
                    code, answer = self.ask(gateway, user)
                    self.assertEqual(0, code, answer)
                    self.assertTrue(answer.endswith(b'{"ok":true}' if user == "length" else b"data: [DONE]\n\n"), answer)
                    self.assertEqual(chat_body(TEXT, user=user, stream=True), server.bodies[-1])

    @unittest.skipUnless(NGINX, "nginx is not installed")
    def test_nginx_as_an_engine(self):
        port = free_port()
        conf = self.directory / "nginx.conf"
        conf.write_text(f"""
daemon off; pid {self.directory}/nginx.pid; error_log {self.directory}/nginx.log;
events {{ worker_connections 64; }}
http {{
  access_log off;
  client_body_temp_path {self.directory}/body; proxy_temp_path {self.directory}/proxy; fastcgi_temp_path {self.directory}/f;
  uwsgi_temp_path {self.directory}/u; scgi_temp_path {self.directory}/s;
  server {{
    listen 127.0.0.1:{port};
    location = /health {{ return 200 "well"; }}
    location = /v1/chat/completions {{ default_type application/json; return 200 '{{"server":"nginx","method":"$request_method","length":"$content_length"}}'; }}
  }}
}}
""")
        nginx = subprocess.Popen([NGINX, "-p", str(self.directory), "-c", str(conf)], stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        self.addCleanup(nginx.wait)
        self.addCleanup(nginx.terminate)
        wait_for(lambda: curl(f"http://127.0.0.1:{port}/health")[0] == 0, "nginx to listen")
        gateway = self.gateway(worker(f"http://127.0.0.1:{port}"), config={"health": {"enabled": True, "interval": "50ms"}})
        body = chat_body(TEXT)
        for _ in range(3):
            code, answer = curl("--data-binary", "@-", gateway.url("/v1/chat/completions"), body=body)
            self.assertEqual(0, code, answer)
            self.assertEqual({"server": "nginx", "method": "POST", "length": str(len(body))}, json.loads(answer))
        self.assertIn(MODEL.encode(), curl(gateway.url("/v1/models"))[1])


if __name__ == "__main__":
    unittest.main()
