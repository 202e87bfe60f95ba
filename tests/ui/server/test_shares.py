"""A limit is divided among addresses: each may have as much as is still free."""

import anyio
import pytest

from medvit.ui.server.responses import RefusedError, disk_full
from medvit.ui.server.shares import FairShare, PerAddressLimiter, fits, network

from .http import run_async


def test_addresses_of_one_ipv6_network_count_together():
    assert network("2001:db8::1") == network("2001:db8::2:3") != network("2001:db8:0:1::1")
    assert network("10.0.0.1") != network("10.0.0.2")
    assert network("/run/socket") == "/run/socket"


@pytest.mark.parametrize("clients", [1, 2, 7])
def test_greedy_clients_leave_a_share_to_others(clients):
    limit = FairShare(800)
    for _ in range(800):
        for client in range(clients):
            try:
                limit.take(f"10.0.0.{client}")
            except RefusedError:
                continue
    assert limit.by_address.total() == limit.used == pytest.approx(800 * clients / (clients + 1), abs=8)
    limit.take("10.0.1.1", 90)


def test_what_is_given_back_is_free_again():
    limit = FairShare(4)
    with limit.hold("a"), limit.hold("a"):
        with pytest.raises(RefusedError) as refused, limit.hold("a"):
            pass
        assert refused.value.status == 503
    assert limit.used == 0
    assert not limit.by_address
    limit.take("a", 4)
    assert not fits(4, 1, 4, 4)


def test_a_share_says_what_is_full():
    with pytest.raises(RefusedError, match="disk"):
        FairShare(1, disk_full).take("a", 2)


def test_requests_of_one_address_wait_for_each_other_and_for_no_other_address():
    room, log = PerAddressLimiter(1), []

    async def visit(address, name, seconds):
        async with room.enter(address):
            log.append(name)
            await anyio.sleep(seconds)

    async def visit_all():
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(visit, "a", "first", 0.3)
            await anyio.sleep(0.1)
            tasks.start_soon(visit, "a", "second", 0)
            await anyio.sleep(0.1)
            tasks.start_soon(visit, "b", "other", 0)

    run_async(visit_all)
    assert log == ["first", "other", "second"]
    assert not room._rooms
