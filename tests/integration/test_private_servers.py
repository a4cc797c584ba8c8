# SPDX-License-Identifier: Apache-2.0
"""Is nothing left of the tests' own servers, whoever is killed?"""

import os
import pathlib
import signal
import subprocess
import sys

import pytest
import servers_base as base

PROGRAM = """
import importlib.util, json, os, sys, time
spec = importlib.util.spec_from_file_location("base", sys.argv[1])
base = importlib.util.module_from_spec(spec)
spec.loader.exec_module(base)
LISTEN = "import socket, sys, time; held = socket.create_server(('127.0.0.1', int(sys.argv[1]))); time.sleep(300)"


class Listening(base.Server):
    def command(self):
        return [sys.executable, "-c", LISTEN, str(self.port)]


server = Listening("listening")
server.start()
print(server.process.pid, base._keepers[os.getpid()].pid, server.folder, flush=True)
sys.stdin.read()
server.remove()
"""


class Program:
    """A process of tests that has a server."""

    def __init__(self, place):
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, base.__file__],
            env={**os.environ, "TMPDIR": str(place)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        server, keeper, folder = self.process.stdout.readline().split()
        self.server, self.keeper = base.Process(int(server)), base.Process(int(keeper))
        self.folder = pathlib.Path(folder)

    def kill(self):
        self.process.kill()
        self.process.communicate()


@pytest.fixture
def program(tmp_path):
    program = Program(tmp_path)
    assert program.server.is_running
    assert program.folder.parent == tmp_path
    yield program
    program.kill()
    program.keeper.wait(20)
    program.server.wait(20)


def test_end(program):
    program.process.communicate("")
    program.server.wait(20)
    assert not program.folder.exists()


def test_killed_tests_leave_no_server_and_no_folder(program):
    program.kill()
    program.server.wait(20)
    base.wait_for(lambda: not program.folder.exists(), "the folder is gone")


def test_server_ends_with_the_one_that_looks_after_it(program):
    os.kill(program.keeper.pid, signal.SIGKILL)
    program.server.wait(20)


def test_folder_of_killed_tests_is_removed_by_the_next(program, tmp_path):
    program.process.send_signal(signal.SIGSTOP)
    os.kill(program.keeper.pid, signal.SIGKILL)
    program.kill()
    program.server.wait(20)
    assert program.folder.exists()
    strangers = tmp_path / "taskflow-strangers"
    strangers.mkdir()
    again = Program(tmp_path)
    assert not program.folder.exists()
    assert strangers.exists()
    other = Program(tmp_path)
    # Whoever is there keeps theirs.
    assert again.folder.exists()
    assert again.server.is_running
    for each in (again, other):
        each.kill()
        each.keeper.wait(20)
