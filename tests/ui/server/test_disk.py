"""Uploads have room on disk, reserved while they arrive."""

from types import SimpleNamespace

import pytest

from medvit import limits
from medvit.ui.server import disk
from medvit.ui.server.disk import UploadSpace
from medvit.ui.server.responses import RefusedError


class Upload:
    """The body of an upload, as `BodyLimiter` describes it."""

    def __init__(self, expected, received=0, complete=True):
        self.expected, self.received, self.complete = expected, received, complete


@pytest.fixture
def space(tmp_path, monkeypatch):
    """A folder on a disk with 100 bytes."""
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda path: SimpleNamespace(free=100))
    return UploadSpace(tmp_path)


def test_parallel_uploads_share_the_room(space):
    with space.reserve(Upload(60, received=20)):
        with space.reserve(Upload(60)):
            pass
        with pytest.raises(RefusedError, match="full"), space.reserve(Upload(61)):
            pass
    with space.reserve(Upload(100)):
        pass


def test_what_an_interrupted_upload_left_is_deleted_once_no_other_runs(space, tmp_path):
    (tmp_path / "complete").mkdir()
    (tmp_path / "complete" / "a.png").write_bytes(b"x")
    with space.reserve(Upload(10)):
        (tmp_path / "tmp1").write_bytes(b"x")
        with space.reserve(Upload(10, complete=False)):
            (tmp_path / "tmp2").write_bytes(b"x")
        assert (tmp_path / "tmp1").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["complete"]
    assert (tmp_path / "complete" / "a.png").exists()


def test_the_number_of_files_is_limited(space, tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "UPLOADED_FILES", 2)
    for i in range(3):
        (tmp_path / str(i)).mkdir()
    with pytest.raises(RefusedError, match="full"), space.reserve(Upload(1)):
        pass
