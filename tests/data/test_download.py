"""Downloads are complete and checked, or resumable, or leave nothing behind."""

import fcntl
import hashlib
import http.server
import threading

import pytest

from medvit.data.download import download_file, part_path
from medvit.errors import MedvitError

CONTENT = bytes(range(256)) * 100


class Server(http.server.ThreadingHTTPServer):
    """Serves `CONTENT`, up to byte `stop_after`; supports ranges if `ranges` is set."""

    stop_after: int | None = None
    ranges = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.requested_ranges = []
        self.url = f"http://127.0.0.1:{self.server_port}/file.npz"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Server

    def do_GET(self):
        requested = self.headers.get("Range")
        self.server.requested_ranges.append(requested)
        start = 0
        if requested and self.server.ranges:
            start = int(requested.removeprefix("bytes=").removesuffix("-"))
        if start >= len(CONTENT):
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()
        self.wfile.write(CONTENT[start : self.server.stop_after])
        self.close_connection = True

    def log_message(self, *args):
        pass


@pytest.fixture
def server():
    with Server() as running:
        threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        yield running
        running.shutdown()


@pytest.fixture
def download(server, tmp_path):
    """download(md5=right, progress) -> path in tmp_path/data."""
    right = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()

    def start(md5=right, **options):
        return download_file(server.url, tmp_path / "data" / "file.npz", md5, **options)

    return start


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    return tmp_path / "data"


def test_a_download_is_complete_and_reports_progress(download):
    steps = []
    path = download(progress=lambda *step: steps.append(step))
    assert path.read_bytes() == CONTENT
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert list(path.parent.iterdir()) == [path]


def test_a_complete_file_is_not_downloaded_again(download, server):
    download()
    download()
    assert len(server.requested_ranges) == 1


def test_a_wrong_checksum_leaves_nothing_behind(download, folder):
    with pytest.raises(MedvitError, match="0" * 32):
        download(md5="0" * 32)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("ranges", [True, False])
def test_an_interrupted_download_is_resumed(download, server, folder, ranges):
    server.ranges, server.stop_after = ranges, 5000
    with pytest.raises(MedvitError, match="Try again|IncompleteRead"):
        download()
    assert [path.name for path in folder.iterdir()] == ["file.npz.part"]
    server.stop_after = None
    steps = []
    path = download(progress=lambda *step: steps.append(step))
    assert path.read_bytes() == CONTENT
    assert server.requested_ranges == [None, "bytes=5000-"]
    assert steps[-1] == (len(CONTENT), len(CONTENT))
    assert list(folder.iterdir()) == [path]


def test_of_a_complete_part_only_the_checksum_is_checked(download, folder):
    (folder / "file.npz.part").write_bytes(CONTENT)
    assert download().read_bytes() == CONTENT


def test_a_part_with_wrong_bytes_is_deleted_and_the_next_download_starts_anew(download, folder):
    (folder / "file.npz.part").write_bytes(b"x" * 100)
    with pytest.raises(MedvitError, match="has md5"):
        download()
    assert list(folder.iterdir()) == []
    assert download().is_file()


def test_an_exception_in_progress_stops_the_transfer_and_keeps_the_part(download, folder):
    def stop(done, total):
        raise MedvitError(f"Stopped at {done}")

    with pytest.raises(MedvitError, match="Stopped at"):
        download(progress=stop)
    assert [path.name for path in folder.iterdir()] == ["file.npz.part"]


def test_a_second_download_of_the_same_file_is_refused(download):
    refused = []

    def start_another(done, total):
        with pytest.raises(MedvitError, match="already") as error:
            download()
        refused.append(error)

    assert download(progress=start_another).is_file()
    assert refused


def test_a_refused_download_keeps_the_empty_part_of_the_other_process(download, folder):
    part = part_path(folder / "file.npz")
    with part.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(MedvitError, match="already"):
            download()
        assert part.exists()


def test_without_a_network_the_message_says_how_to_do_it_by_hand(tmp_path):
    url, path = "http://127.0.0.1:9/file.npz", tmp_path / "file.npz"
    with pytest.raises(MedvitError) as error:
        download_file(url, path, "a" * 32)
    for text in (url, str(path), "a" * 32):
        assert text in str(error.value)
    assert not list(tmp_path.iterdir())
