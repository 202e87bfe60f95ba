"""Each attack reaches its target, from several addresses, and ends by itself."""

import socketserver
import sys
import threading

import pytest

from medvit.benchmarks.attacks import ATTACKS


@pytest.fixture
def target():
    """(url, addresses of its clients) of a server that closes every connection."""
    clients = set()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self):
            clients.add(self.client_address[0])

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}", clients
        server.shutdown()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs many loopback addresses")
@pytest.mark.parametrize("name", sorted(ATTACKS))
def test_an_attack_comes_from_several_addresses_and_ends(target, name):
    url, clients = target
    ATTACKS[name](url, seconds=1, clients=3)
    assert clients == {"127.7.0.1", "127.7.0.2", "127.7.0.3"}
