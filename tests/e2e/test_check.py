"""`tidegate check` finds what a start would stumble over, says where it stands, and starts nothing."""

import json
import os
import socket
import subprocess
import unittest

from harness import BINARY, PLUGINS, WAIT, Scenario, free_port


class Command(Scenario):
    def run_tidegate(self, *arguments, env=None):
        done = subprocess.run([BINARY, *map(str, arguments)], capture_output=True, text=True, timeout=WAIT,
                              env={**os.environ, **(env or {})}, cwd=self.directory, check=False)
        return done.returncode, done.stdout, done.stderr

    def file(self, text, name="tidegate.yaml"):
        path = self.directory / name
        path.write_text(text)
        return path

    def config(self, more="", workers="[{url: 'http://127.0.0.1:1'}]"):
        return self.file(f"server: {{listen: '127.0.0.1:{free_port()}'}}\n"
                         f"plugins: {{path: [{json.dumps(str(PLUGINS))}]}}\n"
                         f"discovery:\n- plugin: static\n  config:\n    workers: {workers}\n{more}")

    def check(self, path, *arguments, env=None):
        return self.run_tidegate("check", "--config", path, *arguments, env=env)

    def assert_refused(self, path, *texts, env=None):
        """By check and by serve alike, with the same words."""
        for command in ("check", "serve"):
            code, out, errors = self.run_tidegate(command, "--config", path, env=env)
            self.assertEqual(78, code, (command, out, errors))
            for text in texts:
                self.assertIn(text, errors, command)


class Check(Command):
    def test_a_good_file_is_well(self):
        path = self.config()
        self.assertEqual((0, f"{path}: well\n", ""), self.check(path))

    def test_a_misspelt_key_has_its_place_and_a_suggestion(self):
        path = self.config("servr: {}\n")
        self.assert_refused(path, f"{path}:7:1: servr: ", "server")

    def test_a_plugin_that_is_not_there(self):
        path = self.config("routes:\n- policy: no_such_policy\n")
        self.assert_refused(path, f"{path}:8:11: routes[0].policy.config: ", "no_such_policy")

    def test_what_only_the_plugin_finds_has_the_values_place(self):
        path = self.config(workers="\n    - {url: 'http://127.0.0.1:1'}\n    - {url: 'http://127.0.0.1:1'}")
        self.assert_refused(path, f"{path}:8:7: discovery[0].config/workers/1: ", "stands twice")

    def test_a_worker_behind_tls_is_refused_with_its_place(self):
        path = self.config(workers="[{url: 'https://127.0.0.1:1'}]")
        self.assert_refused(path, f"{path}:6:21: discovery[0].config/workers/0/url: ", "TLS to workers is not served")

    def test_an_access_log_without_its_directory(self):
        path = self.config("log: {access: /no/such/directory/access.log}\n")
        self.assert_refused(path, "log.access: ", "/no/such/directory/access.log", "No such file or directory")

    def test_a_check_makes_no_access_log(self):
        log = self.directory / "access.log"
        self.assertEqual(0, self.check(self.config(f"log: {{access: {log}}}\n"))[0])
        self.assertFalse(log.exists())

    def test_an_empty_secret_would_open_what_it_guards(self):
        for secret, env in (('""', {}), ('"${TIDEGATE_TEST_EMPTY}"', {"TIDEGATE_TEST_EMPTY": ""})):
            with self.subTest(secret):
                path = self.config(f"control: {{token: {secret}}}\n")
                self.assert_refused(path, f"{path}:7:18: control.token: expected a secret, found an empty one", env=env)

    def test_the_name_of_workers_added_by_hand_is_taken(self):
        path = self.file("discovery: [{plugin: static, name: api, config: {workers: [{url: 'http://127.0.0.1:1'}]}}]\n")
        self.assert_refused(path, f"{path}:1:36: discovery[0].name: expected another name than api")

    def test_a_file_that_is_not_there(self):
        self.assert_refused(self.directory / "none.yaml", "none.yaml: cannot be read")

    def test_the_configuration_is_printed_with_defaults_and_without_secrets(self):
        path = self.config("control: {token: hunter2}\n", workers="[{url: 'http://127.0.0.1:1', key: hunter3}]")
        code, out, _ = self.check(path, "--print-config")
        self.assertEqual(0, code)
        self.assertIn("  max_body: 64MiB\n", out)
        self.assertIn("  resolve_interval: 30s\n", out)
        self.assertNotIn("hunter", out)
        again = self.file(out.replace('"***"', "another"), "again.yaml")
        self.assertEqual(0, self.check(again)[0])

    def test_the_schema_for_editors_is_printed(self):
        code, out, _ = self.run_tidegate("check", "--schema")
        self.assertEqual(0, code)
        schema = json.loads(out)
        self.assertIn("server", schema["properties"])
        self.assertEqual("https://json-schema.org/draft/2020-12/schema", schema["$schema"])


class Usage(Command):
    def test_what_is_no_command_is_2(self):
        for arguments in ((), ("serv",), ("check",), ("serve",), ("check", "--confg", "x"), ("engine", "--nonsense")):
            with self.subTest(arguments):
                code, out, errors = self.run_tidegate(*arguments)
                self.assertEqual((2, ""), (code, out))
                self.assertTrue(errors)

    def test_help_and_version_are_0(self):
        for arguments in (("--help",), ("--version",), ("check", "--help"), ("serve", "--help"), ("engine", "--help")):
            with self.subTest(arguments):
                code, out, _ = self.run_tidegate(*arguments)
                self.assertEqual(0, code)
                self.assertTrue(out)

    def test_an_engine_that_makes_no_sense_is_2(self):
        for option in ("--prefill-us-per-token=-1", "--decode-us-per-step=-5", "--decode-us-per-sequence=-1",
                       "--mean-output-tokens=0", "--speed=0", "--max-batch=0"):
            with self.subTest(option):
                code, _, errors = self.run_tidegate("engine", "--listen", "127.0.0.1:0", option)
                self.assertEqual(2, code, errors)

    def test_an_address_in_use_is_said_in_words(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            address = "127.0.0.1:%d" % taken.getsockname()[1]
            path = self.file(f"server: {{listen: '{address}'}}\n")
            for command in (("engine", "--listen", address), ("serve", "--config", path)):
                with self.subTest(command):
                    code, _, errors = self.run_tidegate(*command)
                    self.assertNotEqual(0, code)
                    self.assertIn("ddress already in use", errors)


if __name__ == "__main__":
    unittest.main()
