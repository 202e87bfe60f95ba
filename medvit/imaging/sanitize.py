"""Refuses picture files that make a decoder work for hours: endless small pieces, endless passes.

Pillow walks chunks, segments and blocks one by one, some of them in quadratic time, and libjpeg goes over the
whole picture for every scan; neither has a limit. Honest files stay far below these.
"""

from typing import Literal

from medvit.errors import MedvitError

PIECES = 10_000  # a PNG of 20 MB in chunks of 8 kB has 2,500; a TIFF has a strip a row at most
SEGMENTS = 1_000  # of a JPEG before its first scan, joined in quadratic time; a profile has 255 at most
STRIPS_AND_TILES = (273, 279, 324, 325)  # where they lie, and how many bytes each has
PASSES = 1_000_000_000  # pixels times scans of a JPEG; progressive ones have about ten scans


def check(data: bytes) -> None:
    """Look at the structure of a PNG, JPEG, GIF, TIFF or BMP; other files pass.

    Raises:
        MedvitError: more pieces than `PIECES` or `SEGMENTS`, or runs that leave out as much as they like.
    """
    most = PIECES
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        count = _png_chunks(data)
    elif data.startswith(b"\xff\xd8"):
        count, most = _jpeg_segments(data), SEGMENTS
    elif data.startswith((b"GIF87a", b"GIF89a")):
        count = _gif_blocks(data)
    elif data.startswith((b"II", b"MM")):
        count = _tiff_pieces(data)
    elif data.startswith(b"BM"):
        if data[30:34] in (b"\1\0\0\0", b"\2\0\0\0"):  # two bytes of it can skip gigabytes of pixels
            raise MedvitError("A run-length coded BMP is not read here. Save it as PNG.")
        return
    else:
        return
    if count > most:
        raise MedvitError(
            "The file consists of too many small pieces to be an honest picture. Save it anew with an image "
            "program."
        )


def check_passes(data: bytes, pixels: int) -> None:
    """Raises MedvitError for a JPEG that is sent over its `pixels` too often."""
    if data.startswith(b"\xff\xd8") and data.count(b"\xff\xda") * pixels > PASSES:
        raise MedvitError("The picture has too many passes to be decoded. Save it anew as an ordinary JPEG.")


def _png_chunks(data: bytes) -> int:
    place, count = 8, 0
    while place < len(data) and count <= PIECES:
        place += 12 + int.from_bytes(data[place : place + 4], "big")
        count += 1
    return count


def _jpeg_segments(data: bytes) -> int:
    """Segments before the first scan; Pillow reads them in Python, libjpeg the rest."""
    place, count = 2, 0
    while place + 3 < len(data) and data[place] == 0xFF and data[place + 1] != 0xDA and count <= PIECES:
        marker = data[place + 1]
        if marker in (0, 0xFF):  # padding
            place += 1
        elif 0xD0 <= marker <= 0xD9 or marker == 1:  # no content
            place += 2
        else:
            place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
        count += 1
    return count


def _gif_blocks(data: bytes) -> int:
    """Blocks before the first frame, and between its pieces."""
    place, count = 13, 0
    if len(data) > 10 and data[10] & 0x80:
        place += 3 << ((data[10] & 7) + 1)  # the palette
    while place < len(data) and data[place] != 0x2C and count <= PIECES:
        if data[place] == 0x21:
            place += 2
            while place < len(data) and data[place] and count <= PIECES:
                place += data[place] + 1
                count += 1
        place += 1
        count += 1
    return count


def _tiff_pieces(data: bytes) -> int:
    """The most strips or tiles that one of the first directory's entries lists, or its entries."""
    order: Literal["little", "big"] = "little" if data.startswith(b"II") else "big"

    def number(place: int, size: int) -> int:
        return int.from_bytes(data[place : place + size], order)

    big = number(2, 2) == 43  # BigTIFF: wider numbers
    place = number(8, 8) if big else number(4, 4)
    entries, first, step = (number(place, 8), place + 8, 20) if big else (number(place, 2), place + 2, 12)
    counts = [entries]
    for entry in range(first, first + step * min(entries, PIECES), step):
        if number(entry, 2) in STRIPS_AND_TILES:
            counts.append(number(entry + 4, 8 if big else 4))
    return max(counts)
