"""Connections: unfinished headers and bodies end in time, and attacks on the parser cost little memory."""

import resource
import time

import pytest

from medvit import limits
from tests.conftest import running_app

from .http import BOUNDARY, connect, received, request

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


@pytest.mark.parametrize("path", ["/gradio_api/queue/join", "/gradio_api/upload", "/gradio_api/component_server"])
def test_unfinished_bodies_are_refused_in_time_and_hold_no_slot(address, path):
    kind = "application/json" if path.endswith("join") else f"multipart/form-data; boundary={BOUNDARY}"
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\nContent-Length: 100\r\n\r\n{{"
    connections = [connect(address) for _ in range(20)]
    for connection in connections:
        connection.sendall(head.encode())
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


def memory(pid: int) -> int:
    """Resident memory of a process, bytes."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()
