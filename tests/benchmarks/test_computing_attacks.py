"""Bulk jobs and large pictures of clients that leave, never listen, or ask for too much."""

import asyncio
import io
import zipfile

import pytest
from PIL import Image

from medvit import limits
from medvit.benchmarks.attacks import Target
from medvit.benchmarks.computing_attacks import LARGE, Page, large_picture, packed, upload
from tests.conftest import running_app


@pytest.fixture(scope="module")
def address(trained, tmp_path_factory):
    folder = tmp_path_factory.mktemp("attacked")
    (folder / "temporary").mkdir()
    options = {"log": folder / "log", "temporary": folder / "temporary"}
    with running_app("--checkpoints", trained, **options) as address:
        yield address
    assert not list((folder / "temporary").glob("medvit-uploads-*"))
    assert '  File "' not in (folder / "log").read_text()


def test_the_large_picture_is_a_small_file_within_the_limit():
    assert len(large_picture()) < 4000
    assert Image.open(io.BytesIO(large_picture())).size == LARGE
    assert LARGE[0] * LARGE[1] <= limits.IMAGE_PIXELS


def test_a_zip_contains_the_copies():
    with zipfile.ZipFile(io.BytesIO(packed(b"x", 3, ".{}"))) as archive:
        assert archive.namelist() == [".0", ".1", ".2"]


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.parametrize("seconds", [0, 2], ids=["never listens", "leaves"])
def test_a_job_ends_after_its_client_and_the_next_one_of_the_address_begins(address, seconds):
    async def attack():
        content = packed(large_picture(), 2000)
        pages = [Page(Target(address, 1)) for _ in range(2)]
        for page in pages:
            await page.open()
            file = await upload(page.target, "many.zip", content)
            assert await page.join(page.bulk, [file]) == 200
            messages = await page.read_messages(seconds if page is pages[0] else 60, "process_generating")
        return messages

    assert b"process_generating" in asyncio.run(attack())


@pytest.mark.slow
@pytest.mark.server
def test_a_zip_of_hidden_entries_is_refused(address):
    async def attack():
        page = Page(Target(address))
        await page.open()
        await page.join(page.bulk, [await upload(page.target, "hidden.zip", packed(b"", 20_000, ".{}"))])
        return await page.read_messages()

    assert b"At most 10,000 files" in asyncio.run(attack())


@pytest.mark.slow
@pytest.mark.server
def test_a_server_that_is_stopped_in_the_middle_of_a_job_leaves_no_uploads(trained, tmp_path):
    async def attack(address):
        page = Page(Target(address))
        await page.open()
        await page.join(page.bulk, [await upload(page.target, "many.zip", packed(large_picture(), 2000))])
        return await page.read_messages(60, "process_generating")

    options = {"log": tmp_path / "log", "temporary": tmp_path}
    with running_app("--checkpoints", trained, **options) as address:
        assert b"process_generating" in asyncio.run(attack(address))
        assert len(list(tmp_path.glob("medvit-uploads-*"))) == 1
    assert not list(tmp_path.glob("medvit-uploads-*"))
