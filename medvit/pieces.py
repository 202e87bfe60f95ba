"""Refuses picture files that make a decoder work for hours: endless small pieces, endless passes.

Pillow walks chunks, segments and blocks one by one, some of them in quadratic time, and libjpeg goes over the
whole picture for every scan; neither has a limit. Honest files stay far below these.
"""

from medvit.errors import MedvitError

PIECES = 10_000  # a PNG of 20 MB in chunks of 8 kB has 2,500
PASSES = 1_000_000_000  # pixels times scans of a JPEG; progressive ones have about ten scans


def check(data: bytes) -> None:
    """Look at the structure of a PNG, JPEG or GIF; other files pass.

    Raises:
        MedvitError: more than `PIECES` pieces.
    """
    if data.startswith(b"\x89PNG\r\n\x1a\n"):
        count = _png_chunks(data)
    elif data.startswith(b"\xff\xd8"):
        count = _jpeg_segments(data)
    elif data.startswith((b"GIF87a", b"GIF89a")):
        count = _gif_blocks(data)
    else:
        return
    if count > PIECES:
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
