"""Uploads have room on disk, reserved while they arrive."""

import json
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from medvit import limits
from medvit.ui.server import disk
from medvit.ui.server.disk import TemporaryFile, UploadSpace, delete_left_files
from medvit.ui.server.responses import RefusedError
from tests.conftest import running_app

from .http import connect, form, received, request, with_descriptors


class Upload:
    """The body of an upload, as `BodyLimiter` describes it."""

    def __init__(self, expected, received=0, complete=True, address="a"):
        self.expected, self.received, self.complete = expected, received, complete
        self.address, self.refused = address, None


@pytest.fixture
def space(tmp_path, monkeypatch):
    """A folder on a disk with 100 bytes."""
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    return UploadSpace(tmp_path)


def test_parallel_uploads_share_the_room(space):
    with space.reserve(Upload(60, received=20)):
        with space.reserve(Upload(60, address="b")):
            pass
        with pytest.raises(RefusedError, match="full"), space.reserve(Upload(61, address="b")):
            pass
        with pytest.raises(RefusedError, match="full"), space.reserve(Upload(21)):
            pass
    with space.reserve(Upload(100, complete=False, address="c")):
        pass


def test_an_address_keeps_no_more_on_disk_than_is_free(space):
    with space.reserve(Upload(70, received=70)):
        pass
    with pytest.raises(RefusedError, match="full"), space.reserve(Upload(31)):
        pass
    with space.reserve(Upload(31, address="b")):
        pass


def test_room_is_free_again_when_the_files_are_deleted(space, monkeypatch):
    now = [0.0]
    monkeypatch.setattr(disk.time, "monotonic", lambda: now[0])
    with space.reserve(Upload(90, received=90)):
        pass
    with pytest.raises(RefusedError), space.reserve(Upload(90)):
        pass
    now[0] = limits.RETENTION_SECONDS + 1
    with space.reserve(Upload(90)):
        pass


def test_the_number_of_files_is_limited_while_they_arrive(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "UPLOADED_FILES", 10)
    space = UploadSpace(tmp_path)
    with space.reserve(Upload(1)) as _, space.reserve(other := Upload(1, address="b")):
        other.count_files(4)
        other.count_files(5)
        with pytest.raises(RefusedError, match="full"):
            other.count_files(6)
    with pytest.raises(RefusedError, match="full"), space.reserve(third := Upload(1, address="b")):
        third.count_files(1)
    with space.reserve(cut_off := Upload(1, address="c", complete=False)):
        cut_off.count_files(2)
    with space.reserve(last := Upload(1, address="c")):
        last.count_files(2)


def test_other_files_in_the_folder_count_too(space, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "UPLOADED_FILES", 2)
    for i in range(3):
        (tmp_path / str(i)).mkdir()
    with pytest.raises(RefusedError, match="full"), space.reserve(Upload(1)):
        pass


def test_a_part_of_a_form_is_written_without_staying_open_and_deleted_unless_it_is_moved(tmp_path):
    with delete_left_files():
        left, moved, late = (TemporaryFile(dir=tmp_path) for _ in range(3))
        assert not list(tmp_path.iterdir())
        for file in (left, moved):
            file.write(b"ab")
            file.write(b"c")
            file.seek(0)
            assert file.read() == b"abc"
        Path(moved.name).rename(tmp_path / "moved")
    assert [path.name for path in tmp_path.iterdir()] == ["moved"]
    for file in (left, late):
        with pytest.raises(FileNotFoundError):  # a late write creates no new file
            file.write(b"d")


CUT_OFF = {
    "in the middle of a file": (b"x" * 100_000, b""),
    "without the end of the form": (b"x" * 100_000, None),
    "under an unknown field": (b"x" * 100_000, b"\r\n--x--\r\n"),
}


@pytest.mark.parametrize("name", CUT_OFF)
def test_an_upload_that_is_not_kept_leaves_nothing_behind(app_server, name):
    content, end = CUT_OFF[name]
    before = set(app_server.uploads.rglob("*"))
    field = "other" if name == "under an unknown field" else "files"
    start = f'--x\r\nContent-Disposition: form-data; name="{field}"; filename="a.png"\r\n\r\n'.encode()
    body = start + content + (end or b"")
    length = len(body) + (1 if end == b"" else 0)
    head = (
        "POST /gradio_api/upload HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
        f"Content-Type: multipart/form-data; boundary=x\r\nContent-Length: {length}\r\n\r\n"
    )
    connection = connect(app_server.address)
    connection.sendall(head.encode() + body)
    if length == len(body):
        received(connection)
    else:
        while not set(app_server.uploads.rglob("*")) - before:
            time.sleep(0.05)
    connection.close()
    for _ in range(100):
        if set(app_server.uploads.rglob("*")) == before:
            break
        time.sleep(0.05)
    assert set(app_server.uploads.rglob("*")) == before


@pytest.mark.slow
@pytest.mark.server
@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors in /proc")
def test_uploads_of_many_files_need_few_descriptors(trained, tmp_path):
    with running_app("--checkpoints", trained, log=tmp_path / "log", code=with_descriptors(256)) as address:
        body, kind = form({f"{i}.png": f"{i}".encode() for i in range(limits.UPLOAD_FILES)})
        status, _, text = request(address, "POST", "/gradio_api/upload", body, kind)
        assert (status, len(json.loads(text))) == (200, limits.UPLOAD_FILES)
    assert "Traceback" not in (tmp_path / "log").read_text()
