"""Atomic writing of files and folders, their names, and checksums."""

import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from medvit.errors import MedvitError


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """Yield a temporary folder that is renamed to `target` at the end, and deleted if the block raises.

    Raises:
        MedvitError: the folder cannot be written, for example because the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        temporary.rename(target)
    except OSError as error:
        raise MedvitError(
            f"{target} could not be written ({error.strerror or error}) and was removed. "
            "Free disk space and start again, or resume."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def atomic_file(target: Path, mode: str = "wb", **options: Any) -> Iterator[IO]:
    """Yield a temporary file that is renamed to `target` at the end, and deleted if the block raises.

    Args:
        mode, options: of `open`.
    """
    part = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        with part.open(mode, **options) as file:
            yield file
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)


def cache_folder() -> Path:
    """Return the folder of what can be computed again: $MEDVIT_CACHE, else ~/.cache/medvit."""
    return Path(os.environ.get("MEDVIT_CACHE") or Path.home() / ".cache" / "medvit")


def safe_name(text: str) -> str:
    """Return a text as part of a file name: letters without accents, digits, and "_.-"."""
    return re.sub(r"[^\w.-]+", "-", text, flags=re.ASCII)


def sha256(path: Path) -> str:
    """Return the hexadecimal sha256 of a file."""
    return _digest(path, "sha256")


def md5sum(path: Path) -> str:
    """Return the hexadecimal md5 of a file."""
    return _digest(path, "md5")


def _digest(path: Path, algorithm: str) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, algorithm).hexdigest()
