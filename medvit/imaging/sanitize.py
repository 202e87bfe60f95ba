"""Resource-exhaustion checks: refuse image files that would keep a decoder busy for minutes or hours.

Pillow walks through chunks, segments and blocks one by one, some of them in quadratic time, and libjpeg
decodes the full image for every scan; neither has a limit. Valid images stay far below the limits here.
"""

from collections.abc import Callable
from typing import Literal

from medvit.errors import MedvitError

MAX_PARTS = 10_000  # a PNG of 20 MB in chunks of 8 kB has 2,500; a TIFF has at most one strip for each row
MAX_JPEG_SEGMENTS = 1_000  # before the first scan, joined in quadratic time; a colour profile has at most 255
MAX_SCANNED_PIXELS = 1_000_000_000  # pixels times scans of a JPEG; progressive ones have about ten scans
STRIP_AND_TILE_TAGS = (273, 279, 324, 325)  # offsets and byte counts of the strips and tiles of a TIFF
RUN_LENGTH_CODED = (b"\1\0\0\0", b"\2\0\0\0")  # compression of a BMP


def check_structure(data: bytes) -> None:
    """Check the number of parts of a PNG, JPEG, GIF or TIFF, and that a BMP is not run-length coded.

    Raises:
        MedvitError: more parts than a valid image has, or a run-length coded BMP.
    """
    if data.startswith(b"BM") and data[30:34] in RUN_LENGTH_CODED:  # two bytes can skip gigabytes of pixels
        raise MedvitError("A run-length coded BMP is not supported. Save it as PNG.")
    for signature, count, limit in COUNTERS:
        if data.startswith(signature) and count(data) > limit:
            raise MedvitError(
                "The file has too many parts for a valid image. Save it again with an image program."
            )


def check_scans(data: bytes, pixels: int) -> None:
    """Raise MedvitError for a JPEG of `pixels` whose many scans would take too long to decode."""
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") * pixels > MAX_SCANNED_PIXELS:
        raise MedvitError("The image has too many scans to be decoded. Save it again as an ordinary JPEG.")


def _png_chunks(data: bytes) -> int:
    position, count = 8, 0
    while position < len(data) and count <= MAX_PARTS:
        position += 12 + int.from_bytes(data[position : position + 4], "big")
        count += 1
    return count


def _jpeg_segments(data: bytes) -> int:
    """Segments before the first scan; Pillow reads them in Python, libjpeg the rest."""
    position, count = 2, 0
    while position + 3 < len(data) and data[position] == 0xFF and data[position + 1] != 0xDA:
        marker = data[position + 1]
        if marker in (0, 0xFF):  # padding
            position += 1
        elif 0xD0 <= marker <= 0xD9 or marker == 1:  # markers without content
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
        count += 1
        if count > MAX_PARTS:
            break
    return count


def _gif_blocks(data: bytes) -> int:
    """Blocks and sub-blocks before the first frame."""
    position, count = 13, 0
    if len(data) > 10 and data[10] & 0x80:
        position += 3 << ((data[10] & 7) + 1)  # the palette
    while position < len(data) and data[position] != 0x2C and count <= MAX_PARTS:
        if data[position] == 0x21:
            position += 2
            while position < len(data) and data[position] and count <= MAX_PARTS:
                position += data[position] + 1
                count += 1
        position += 1
        count += 1
    return count


def _tiff_parts(data: bytes) -> int:
    """The largest number of strips or tiles in an entry of the first directory, or its number of entries."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"

    def number(position: int, size: int) -> int:
        return int.from_bytes(data[position : position + size], order)

    big = number(2, 2) == 43  # BigTIFF has wider numbers
    start = number(8, 8) if big else number(4, 4)
    entries, first, step = (number(start, 8), start + 8, 20) if big else (number(start, 2), start + 2, 12)
    counts = [entries]
    for entry in range(first, first + step * min(entries, MAX_PARTS), step):
        if number(entry, 2) in STRIP_AND_TILE_TAGS:
            counts.append(number(entry + 4, 8 if big else 4))
    return max(counts)


# (first bytes of a file, function that counts its parts, how many it may have)
COUNTERS: tuple[tuple[bytes | tuple[bytes, ...], Callable[[bytes], int], int], ...] = (
    (b"\x89PNG\r\n\x1a\n", _png_chunks, MAX_PARTS),
    (b"\xff\xd8", _jpeg_segments, MAX_JPEG_SEGMENTS),
    ((b"GIF87a", b"GIF89a"), _gif_blocks, MAX_PARTS),
    ((b"II", b"MM"), _tiff_parts, MAX_PARTS),
)
