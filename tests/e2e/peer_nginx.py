"""nginx as an engine: it reads and answers the gateway, and has Python's server behind it for what to answer.

What it got stands in its own access log and in the files to which it writes request bodies.
"""

import json
import pathlib
import shutil
import socket

from peer_servers import PythonServer, Record, Server
from processes import Process, free_port, wait_for

NGINX = """
daemon off; master_process off; pid {directory}/{name}.pid; error_log stderr;
events {{ worker_connections 512; }}
http {{
  log_format json escape=json '{{"method":"$request_method","target":"$request_uri","file":"$request_body_file",'
    '"connection":"$connection","length":"$http_content_length","coding":"$http_transfer_encoding",'
    '"host":"$http_host","id":"$http_x_request_id","custom":"$http_x_custom","expect":"$http_expect",'
    '"hop":"$http_x_hop","status":"$status"}}';
  access_log {directory}/{name}.access json;
  client_body_temp_path {directory}/{name}-b; proxy_temp_path {directory}/{name}-p;
  fastcgi_temp_path {directory}/{name}-f; uwsgi_temp_path {directory}/{name}-u; scgi_temp_path {directory}/{name}-s;
  client_max_body_size 64m; keepalive_requests 1000000; default_type application/octet-stream;
  upstream behind {{ server 127.0.0.1:{behind}; keepalive 8; }}
  server {{
    listen 127.0.0.1:{port} sndbuf=64k;
    reset_timedout_connection on;
    # The body is read whole, kept as a file, and goes no further.
    location / {{
      client_body_in_file_only on; proxy_set_body ""; proxy_http_version 1.1; proxy_set_header Connection "";
      proxy_set_header X-Witness $request_uri; proxy_buffering off; proxy_pass http://behind;
    }}
  }}
}}
"""


class NginxServer(Server):
    """nginx reads and answers the gateway; Python's server, behind it, says how the answer goes."""
    name = "nginx"
    parts = {"plain", "stream", "closing", "none", "same", "hang", "dying", "endless"}

    def __init__(self, directory, part="plain"):
        self.behind = PythonServer(part=part)
        super().__init__(part)
        program = shutil.which("nginx")
        assert program, "nginx is not installed; ./dev deps test"
        self.port = free_port()
        tag = f"nginx-{self.port}"
        self.access = directory / f"{tag}.access"
        config = directory / f"{tag}.conf"
        config.write_text(NGINX.format(directory=directory, name=tag, port=self.port, behind=self.behind.port))
        self.process = Process(tag, [program, "-c", config, "-e", "stderr"], directory)
        wait_for(self._listens, "nginx to listen")
        for event in ("asked", "blocked", "gone", "go"):  # as the one behind sees it
            setattr(self, event, getattr(self.behind, event))

    def _listens(self):
        assert self.process.running(), f"nginx ended:\n{self.process.log()}"
        with socket.socket() as sock:
            return sock.connect_ex(("127.0.0.1", self.port)) == 0

    @property
    def part(self):
        return self.behind.part

    @part.setter
    def part(self, part):
        self.behind.part = part

    @property
    def records(self):
        """The access log. A connection that brought no request leaves no line."""
        out = []
        for line in self.access.read_text().splitlines():
            entry = json.loads(line)
            if entry["status"] == "000" or not entry["method"]:
                continue
            body = pathlib.Path(entry["file"]).read_bytes() if entry["file"] else b""
            headers = [(name, entry[key]) for name, key in (
                ("Content-Length", "length"), ("Transfer-Encoding", "coding"), ("Host", "host"),
                ("X-Request-Id", "id"), ("X-Custom", "custom"), ("Expect", "expect"), ("X-Hop", "hop")) if entry[key]]
            out.append(Record(entry["method"], entry["target"], headers, body, entry["connection"]))
        return out

    @records.setter
    def records(self, _):
        pass  # the log is what it is

    def stop(self):
        self.process.stop()
        self.behind.stop()
