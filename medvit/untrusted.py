"""Read files of unknown origin: JSON, npz and safetensors, whose sizes are checked before they are parsed.

Every function raises MedvitError for a file that is absent, too large, damaged or of another form, and needs
little time and memory for it. The texts name the file without its folder.
"""

import io
import json
import math
import struct
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import numpy as np

from medvit.errors import MedvitError, reason

MB = 2**20
JSON_BYTES = 2 * MB
JSON_DEPTH = 32  # nested lists and objects
ARCHIVE_BYTES = 32 * MB  # of an npz file
ARRAYS_BYTES = 64 * MB  # of its arrays, unpacked
DIRECTORY_BYTES = 2**16  # of the list of members of an npz file
END_RECORD = struct.Struct(
    "<4s4H2LH"
)  # of a zip file: signature, ..., bytes of the list, its offset, comment
HEADER_BYTES = 4 * MB  # of a safetensors file
MAX_DIMENSIONS = 8
MAX_OFFSET = 2**50
# Bytes of an element, for each dtype of a safetensors file.
DTYPES = {
    "BOOL": 1, "U8": 1, "I8": 1, "F8_E4M3": 1, "F8_E5M2": 1, "I16": 2, "U16": 2, "F16": 2, "BF16": 2,
    "I32": 4, "U32": 4, "F32": 4, "I64": 8, "U64": 8, "F64": 8,
}  # fmt: skip

Shapes = dict[str, tuple[int, ...]]


def read_bytes(path: Path, limit: int) -> bytes:
    """The content of a file of at most `limit` bytes."""
    try:
        if not path.is_file():  # a device or a pipe would be read for ever
            raise MedvitError(f"{path.name} is missing, or not a file")
        with path.open("rb") as file:
            content = file.read(limit + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise MedvitError(f"{path.name} cannot be read ({reason(error)})") from error
    if len(content) > limit:
        raise MedvitError(f"{path.name} is larger than {limit / MB:g} MB")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """The object in a JSON file of at most `JSON_BYTES`, nested at most `JSON_DEPTH` deep."""
    return _parse_object(read_bytes(path, JSON_BYTES), path.name)


def _parse_object(content: bytes, name: str) -> dict[str, Any]:
    try:
        parsed = json.loads(content)
    except RecursionError:
        raise MedvitError(f"{name} is nested too deeply") from None
    except ValueError as error:  # also UnicodeDecodeError, and an integer of too many digits
        raise MedvitError(f"{name} is not JSON ({error})") from error
    if not isinstance(parsed, dict):
        raise MedvitError(f"{name} is not a JSON object")
    if is_deeper(parsed, JSON_DEPTH):
        raise MedvitError(f"{name} is nested more than {JSON_DEPTH} levels deep")
    return parsed


def is_deeper(value: Any, depth: int) -> bool:
    """Whether lists and objects, as JSON gives them, are nested more than `depth` levels deep."""
    level = [value]
    for _ in range(depth + 1):
        nested = [item for item in level if isinstance(item, list | dict)]
        if not nested:
            return False
        level = [child for item in nested for child in (item.values() if isinstance(item, dict) else item)]
    return True


def read_arrays(path: Path, names: Collection[str]) -> dict[str, np.ndarray]:
    """The arrays of an npz file, of numbers or text; no pickle is read.

    Their sizes are checked in the list of members before any is unpacked, and in the header of each.

    Args:
        names: the arrays that may be in it.

    Raises:
        MedvitError: also where another array is in it.
    """
    content = read_bytes(path, ARCHIVE_BYTES)
    if not _has_small_directory(content):
        raise MedvitError(f"{path.name} is not a plain npz file")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            if unknown := members.keys() - set(names):
                raise MedvitError(f"{path.name} has an unknown array {min(unknown)[:40]!r}")
            if len(members) != len(archive.infolist()):
                raise MedvitError(f"{path.name} has two arrays of one name")
            if sum(info.file_size for info in members.values()) > ARRAYS_BYTES:
                raise MedvitError(f"the arrays of {path.name} are larger than {ARRAYS_BYTES / MB:g} MB")
            return {name: _read_array(archive, info) for name, info in members.items()}
    except MedvitError:
        raise
    except Exception as error:  # whatever a damaged archive makes zipfile and numpy raise
        raise MedvitError(f"{path.name} is damaged ({str(error)[:200] or type(error).__name__})") from error


def _has_small_directory(content: bytes) -> bool:
    """Whether a zip file ends as numpy writes it, with a short list of members: zipfile reads all of it."""
    if len(content) < END_RECORD.size:
        return False
    signature, *_, size, _, comment = END_RECORD.unpack(content[-END_RECORD.size :])
    is_zip64 = content[-END_RECORD.size - 20 :].startswith(b"PK\6\7")  # would give another size
    return signature == b"PK\5\6" and size <= DIRECTORY_BYTES and not comment and not is_zip64


def _read_array(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> np.ndarray:
    """The array of a member; raises ValueError unless its header declares as many bytes as the member has."""
    with archive.open(info) as opened:
        member = cast(io.BytesIO, opened)
        if np.lib.format.read_magic(member) != (1, 0):
            raise ValueError("an array of another format than 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
        if dtype.kind not in "biufU" or not dtype.itemsize or min(shape, default=0) < 0:
            raise ValueError(f"an array of {dtype} with the shape {shape}")
        if member.tell() + math.prod(shape) * dtype.itemsize != info.file_size:
            raise ValueError(f"the size of an array is not that of its shape {shape}")
        flat = np.frombuffer(bytearray(member.read()), dtype)
        return flat.reshape(shape, order="F" if fortran else "C")


def read_shapes(path: Path) -> Shapes:
    """The name and shape of each tensor in a safetensors file, whose header is checked against its size."""
    try:
        with path.open("rb") as file:
            (length,) = struct.unpack("<Q", file.read(8).ljust(8, b"\xff"))
            header = file.read(length) if length <= HEADER_BYTES else b""
            size = file.seek(0, io.SEEK_END)
    except (OSError, ValueError) as error:
        raise MedvitError(f"{path.name} cannot be read ({reason(error)})") from error
    if not header:
        raise MedvitError(f"{path.name} is not a safetensors file")
    tensors = _parse_object(header, f"the header of {path.name}")
    tensors.pop("__metadata__", None)
    end = 0
    try:
        for tensor in sorted(tensors.values(), key=lambda tensor: tensor["data_offsets"]):
            end = _end_of(tensor, end)
    except (ValueError, KeyError, TypeError) as error:
        raise MedvitError(f"the header of {path.name} is damaged ({error})") from error
    if 8 + length + end != size:
        raise MedvitError(f"{path.name} has {size} bytes, its header declares {8 + length + end}")
    return {name: tuple(tensor["shape"]) for name, tensor in tensors.items()}


def _end_of(tensor: dict[str, Any], start: int) -> int:
    """Where a tensor of a safetensors header ends; raises ValueError unless it begins at `start`."""
    shape, (begin, end) = tensor["shape"], tensor["data_offsets"]
    if len(shape) > MAX_DIMENSIONS or not all(type(number) is int and number >= 0 for number in shape):
        raise ValueError("a shape that is none")
    if (
        begin != start
        or not start <= end <= MAX_OFFSET
        or end - begin != math.prod(shape) * DTYPES[tensor["dtype"]]
    ):
        raise ValueError("data_offsets that do not fit the shapes")
    return end
