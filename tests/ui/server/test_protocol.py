"""Connections: unfinished headers and bodies end in time, and attacks on the parser cost little memory."""

import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from medvit import limits
from medvit.benchmarks import attacks
from medvit.ui.server.protocol import Connections
from tests.conftest import running_app

from .http import BOUNDARY, connect, received, request, with_descriptors

pytestmark = [pytest.mark.server]

PATCHED = (
    "import sys\n"
    "from medvit import cli, limits\n"
    "limits.HEADER_SECONDS = limits.BODY_SECONDS = 1\n"
    "limits.CONNECTIONS_PER_ADDRESS = 40\n"
    "cli.main(['app', *sys.argv[1:]])\n"
)


@pytest.fixture(scope="module")
def address(trained, tmp_path_factory):
    """An app with short time limits."""
    log = tmp_path_factory.mktemp("log") / "app.log"
    with running_app("--checkpoints", trained, log=log, code=PATCHED) as address:
        yield address
    assert "Traceback" not in log.read_text()


def test_idle_connections_are_closed(address):
    started = time.monotonic()
    idle = [connect(address) for _ in range(5)]
    half = [connect(address) for _ in range(5)]
    for connection in half:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ")
    assert [received(connection) for connection in (*idle, *half)] == [b""] * 10
    assert time.monotonic() - started < 10


def test_a_slow_trickle_of_headers_is_cut_off(address):
    connection = connect(address)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
    started = time.monotonic()
    with pytest.raises(ConnectionError):
        while time.monotonic() - started < 20:
            connection.sendall(b"X-Header: a\r\n")
            time.sleep(0.1)
    assert time.monotonic() - started < 10


@pytest.mark.parametrize("route", ["queue/join", "upload", "component_server"])
def test_unfinished_bodies_are_refused_in_time_and_hold_no_slot(address, route):
    path = f"/gradio_api/{route}"
    kind = "application/json" if path.endswith("join") else f"multipart/form-data; boundary={BOUNDARY}"
    start = "{" if path.endswith("join") else f"--{BOUNDARY}\r\n"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 100\r\n\r\n"
    connections = [connect(address) for _ in range(20)]
    for connection in connections:
        connection.sendall((head + start).encode())
    assert request(address, "GET", "/healthz")[0] == 200
    assert all(b"408" in received(connection).split(b"\r\n")[0] for connection in connections)


def test_connections_of_one_address_are_limited(address):
    connections = [connect(address) for _ in range(60)]
    time.sleep(0.3)
    for connection in connections[:30]:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    responses = [received(connection) for connection in connections[:30]]
    assert all(b"200" in response for response in responses)
    assert received(connections[-1]) == b""
    assert request(address, "GET", "/healthz")[0] == 200


def test_a_response_that_is_not_read_is_cut_off(address):
    connection = connect(address)
    connection.sendall(b"GET /config HTTP/1.1\r\nHost: localhost\r\n\r\n" * 500)
    time.sleep(5)
    content = received(connection)
    assert b" 200 OK" in content
    assert content.count(b"HTTP/1.1 200") < 500


class Transport:
    closed = False

    def abort(self):
        self.closed = True


class Connection(SimpleNamespace):
    """As much of a connection as `Connections` uses."""

    __hash__ = object.__hash__
    __eq__ = object.__eq__

    def __init__(self, address, behind_proxy=False):
        super().__init__(address=address, behind_proxy=behind_proxy, transport=Transport())


def closed(connections):
    return [number for number, connection in enumerate(connections) if connection.transport.closed]


def test_the_longest_idle_connection_is_closed_for_a_new_one():
    open_ones = Connections(4)
    known = [Connection(f"10.0.0.{i}") for i in range(6)]
    for connection in known[:4]:
        open_ones.add(connection)
    open_ones.idle.update(dict.fromkeys([known[2], known[1]]))
    open_ones.add(known[4])
    assert closed(known) == [2]
    open_ones.add(known[5])
    assert closed(known) == [1, 2]
    assert len(open_ones) == 4
    assert not open_ones.idle


def test_without_idle_ones_the_address_with_the_most_connections_loses_its_oldest():
    open_ones = Connections(4)
    known = [Connection(address) for address in ("b", "a", "a", "a", "b")]
    for connection in known:
        open_ones.add(connection)
    assert closed(known) == [1]
    open_ones.remove(known[1])  # again, when the transport has noticed
    assert len(open_ones) == 4


def test_behind_a_proxy_a_new_connection_is_closed_if_none_is_idle():
    open_ones = Connections(2)
    known = [Connection("proxy", behind_proxy=True) for _ in range(3)]
    for connection in known:
        open_ones.add(connection)
    assert closed(known) == [2]


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_the_limit_follows_from_the_descriptors_of_the_process():
    code = (
        "import resource; resource.setrlimit(resource.RLIMIT_NOFILE, (1024, 1024))\n"
        "from medvit.ui.server.protocol import connection_limit; print(connection_limit())"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert done.stdout.split() == ["768"], done.stderr


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs many loopback addresses")
def test_idle_connections_from_many_addresses_lock_nobody_out(trained, tmp_path):
    with running_app("--checkpoints", trained, log=tmp_path / "log", code=with_descriptors(512)) as address:
        attack = threading.Thread(target=attacks.idle_connections, args=(address, 10))
        attack.start()
        time.sleep(3)
        statuses = []
        while attack.is_alive():
            statuses.append(request(address, "GET", "/healthz")[0])
            time.sleep(0.5)
        attack.join()
    assert len(statuses) > 1
    assert set(statuses) == {200}
    assert "Traceback" not in (tmp_path / "log").read_text()


def memory(pid: int) -> int:
    """Resident memory of a process, bytes."""
    return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()


@pytest.fixture
def measured(trained, tmp_path):
    """(address, process id) of an app of its own."""
    code = PATCHED.replace("limits.HEADER_SECONDS = limits.BODY_SECONDS = 1\n", "").replace(
        "import sys\n", "import os, sys\nprint('pid', os.getpid(), flush=True)\n"
    )
    log = tmp_path / "app.log"
    with running_app("--checkpoints", trained, log=log, code=code) as address:
        pid = int(log.read_text().split()[1])
        before = 0
        while memory(pid) - before > limits.MB:  # libraries are imported after the first page
            before = memory(pid)
            time.sleep(5)
        yield address, pid


def send_until_refused(connection, chunk: bytes, count: int) -> int:
    """Send a chunk again and again until the server closes or stops reading; bytes sent."""
    connection.settimeout(1)
    sent = 0
    for _ in range(count):
        try:
            sent += connection.send(chunk)
        except OSError:
            break
    return sent


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
def test_endless_headers_and_unread_pipelines_cost_little_memory(measured):
    address, pid = measured
    idle = memory(pid)
    start = b"GET / HTTP/1.1\r\nHost: localhost\r\n"
    pipeline = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n" * 1000
    attacks = [(start, b"A: b\r\n" * 10_000), (start + b"A: ", b"a" * 65_536), (b"", pipeline)]
    for first, chunk in attacks:
        connections = [connect(address) for _ in range(4)]
        for connection in connections:
            connection.sendall(first)
            assert send_until_refused(connection, chunk, 300) < 20 * limits.MB
        started = time.monotonic()
        assert request(address, "GET", "/healthz")[0] == 200
        assert time.monotonic() - started < 2
    assert memory(pid) < idle + 100 * limits.MB
