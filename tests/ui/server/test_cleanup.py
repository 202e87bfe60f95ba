"""Uploads are deleted when they are old, and so are those of servers that were killed."""

import time

import anyio

from medvit.ui.server.cleanup import abandoned_folders, clean_up_forever, delete_old_files

from .http import run_async


def test_old_files_are_deleted_and_new_ones_stay(tmp_path):
    (tmp_path / "new").mkdir()
    (tmp_path / "new" / "picture.png").write_bytes(b"x")
    delete_old_files(tmp_path, 3600)
    assert (tmp_path / "new" / "picture.png").exists()
    time.sleep(0.05)
    for _ in range(3):  # deleting a file makes its folder new again
        delete_old_files(tmp_path, 0.01)
        time.sleep(0.05)
    assert list(tmp_path.iterdir()) == []


def test_the_folder_of_a_killed_server_is_found_and_no_other(tmp_path):
    own, left, photos = (tmp_path / name for name in ("medvit-uploads-own", "medvit-uploads-left", "photos"))
    for folder in (own, left, photos, tmp_path / "medvit-data"):
        folder.mkdir()
    (tmp_path / "medvit-uploads-link").symlink_to(photos)
    (tmp_path / "medvit-uploads-file").write_bytes(b"x")
    assert abandoned_folders(own) == [left]


def test_paths_of_deleted_files_are_forgotten(tmp_path):
    kept = tmp_path / "kept.png"
    kept.write_bytes(b"x")
    known = {str(kept), str(tmp_path / "deleted.png")}

    async def clean_up():
        with anyio.move_on_after(0.5):
            await clean_up_forever(tmp_path, 3600, [known])

    run_async(clean_up)
    assert known == {str(kept)}
