"""The access log: one JSON line a request, reopened by a signal."""

import json
import pathlib
import re
import signal
import socket
import subprocess
import unittest

from harness import BINARY, MODEL, Scenario, chat_body, json_response, post, wait_for


class AccessLog(Scenario):
    def setUp(self):
        super().setUp()
        self.engine = self.raw_engine()
        self.path = self.directory / "access.log"

    def lines(self, path=None):
        path = path or self.path
        text = path.read_text() if path.exists() else ""
        return [json.loads(line) for line in text.splitlines()]

    def ask(self, gateway):
        client = self.client(gateway)
        client.send(post(chat_body(), headers=["X-Request-Id: asked-for"]))
        connection = self.engine.next_connection()
        connection.read_message()
        connection.send(json_response(
            b'{"usage":{"prompt_tokens":7,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":2}}}'))
        self.assertEqual(200, client.read_message().status)

    def test_a_line_says_what_was_asked_where_it_went_and_what_came_of_it(self):
        gateway = self.gateway(self.engine, config={"log": {"access": str(self.path)}})
        self.ask(gateway)
        line = wait_for(self.lines, "the line")[0]
        expected = {"request_id": "asked-for", "method": "POST", "path": "/v1/chat/completions", "model": MODEL,
                    "status": 200, "route": "*", "policy": "power_of_two", "prompt_tokens": 7, "cached_tokens": 2,
                    "output_tokens": 3}
        self.assertEqual(expected, {key: line.get(key) for key in expected})
        self.assertEqual([(self.engine.url, 200)], [(one["worker"], one["status"]) for one in line["workers"]])
        self.assertRegex(line["time"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertGreater(line["total_ms"], 0)

    def test_a_refusal_has_its_error(self):
        gateway = self.gateway(self.engine, config={"log": {"access": str(self.path)}})
        self.client(gateway).exchange(post(chat_body().replace(MODEL.encode(), b"unheard-of")))
        line = wait_for(self.lines, "the line")[0]
        self.assertEqual((404, "model_not_found"), (line["status"], line["error"]))

    def test_both_signals_open_it_anew_after_a_rotation(self):
        gateway = self.gateway(self.engine, config={"log": {"access": str(self.path)}})
        for number, name in enumerate((signal.SIGUSR1, signal.SIGHUP)):
            self.ask(gateway)
            wait_for(self.lines, "the line")
            rotated = self.directory / f"access.log.{number}"
            self.path.rename(rotated)
            gateway.signal(name)
            wait_for(self.path.exists, "the new file")
            self.ask(gateway)
            wait_for(self.lines, "the line in the new file")
            self.assertEqual(1, len(self.lines(rotated)))
            self.path.unlink()
            gateway.signal(name)
            wait_for(self.path.exists, "the next file")
        self.assertTrue(gateway.running())

    def test_a_refused_reload_opens_it_anew_too(self):
        gateway = self.gateway(self.engine, config={"log": {"access": str(self.path)}})
        wait_for(self.path.exists, "the file")
        self.path.unlink()
        gateway.write_config("servr: {}\n")
        gateway.reload()
        wait_for(self.path.exists, "the new file")

    def test_standard_error_may_be_a_socket(self):
        gateway = self.gateway(self.engine, config={"log": {"access": "stderr"}})  # writes the file
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        config = json.loads(pathlib.Path(gateway.config_path).read_text())
        gateway.stop()
        config["log"]["access"] = "stderr"
        gateway.config_path.write_text(json.dumps(config))
        process = subprocess.Popen([BINARY, "serve", "--config", gateway.config_path], stderr=theirs.fileno(),
                                   stdout=subprocess.DEVNULL)
        theirs.close()
        self.addCleanup(process.wait)
        self.addCleanup(process.terminate)
        ours.settimeout(10)
        text = b""
        while b'"serving"' not in text:
            data = ours.recv(65536)
            self.assertTrue(data, text)
            text += data
        wait_for(lambda: gateway.control("/readiness")[0] == 200, "readiness")
        self.ask(gateway)
        while not re.search(rb'"path":"/v1/chat/completions"', text):
            data = ours.recv(65536)
            self.assertTrue(data, text)
            text += data

    def test_what_it_loses_is_a_metric(self):
        gateway = self.gateway(self.engine, config={"log": {"access": str(self.path)}})
        text = gateway.metrics()
        for name in ("access_log_lines_total", "access_log_lines_dropped_total", "access_log_lines_failed_total"):
            self.assertRegex(text, rf"(?m)^tidegate_{name} 0$")
        self.ask(gateway)
        wait_for(lambda: re.search(r"(?m)^tidegate_access_log_lines_total 1$", gateway.metrics()), "the count")


if __name__ == "__main__":
    unittest.main()
