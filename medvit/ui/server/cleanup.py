"""Deletes uploads that are no longer needed, also those that Gradio does not know of.

Gradio deletes what it knows of; not what an aborted upload or a killed server leaves behind.
"""

import stat
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import anyio

from medvit import limits

PREFIX = "medvit-uploads-"


async def clean_up_forever(
    folder: Path, seconds: float = limits.RETENTION_SECONDS, known: Iterable[set[str]] = ()
) -> None:
    """Delete files older than `seconds` from a folder of uploads and from abandoned ones, until cancelled.

    Args:
        known: paths that Gradio remembers; those that are gone are removed from them.
    """
    while True:
        for path in (folder, *abandoned_folders(folder)):
            await anyio.to_thread.run_sync(delete_old_files, path, seconds)
        for paths in filter(None, known):
            paths -= await anyio.to_thread.run_sync(missing, list(paths))
        await anyio.sleep(max(1, min(60, seconds / 4)))


def missing(paths: list[str]) -> set[str]:
    """Those of the paths where there is no file."""
    return {path for path in paths if not Path(path).exists()}


def abandoned_folders(folder: Path) -> list[Path]:
    """Other folders of uploads of the same owner beside this one; running servers clean up theirs too."""
    folders = []
    for path in folder.parent.glob(f"{PREFIX}*"):
        with suppress(OSError):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_uid == folder.lstat().st_uid and path != folder:
                folders.append(path)
    return folders


def delete_old_files(folder: Path, seconds: float) -> None:
    """Delete the files below a folder that did not change for `seconds`, and folders that become empty."""
    limit = time.time() - seconds
    for path in sorted(folder.rglob("*"), reverse=True):  # the content of a folder comes before the folder
        try:
            if path.lstat().st_ctime > limit:
                continue
            if path.is_dir() and not path.is_symlink():
                path.rmdir()  # fails unless it is empty
            else:
                path.unlink()
        except OSError:
            continue
