"""Files made to crash or exhaust a program that opens images; the same ones on every run."""

import io
import random
import struct
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import numpy as np
from PIL import Image

PNG = b"\x89PNG\r\n\x1a\n"


def corpus() -> Iterator[tuple[str, bytes]]:
    """(name, content) of a few hundred files, small ones first."""
    yield from small()
    yield from repeated()
    yield from _large()


def small() -> Iterator[tuple[str, bytes]]:
    """Those of a few kilobytes."""
    valid = dict(_valid())
    yield from valid.items()
    yield from _truncated(valid)
    yield from _flipped(valid)
    yield from _disguised(valid)
    yield from _false_headers()


def _encode(image: Image.Image, kind: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def _noise(mode: str = "RGB", size: tuple[int, int] = (64, 48)) -> Image.Image:
    pixels = np.random.default_rng(0).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def _valid() -> Iterator[tuple[str, bytes]]:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16"):
        image = Image.fromarray(np.arange(3072, dtype=np.uint16).reshape(48, 64) * 21)
        yield f"valid-{mode.replace(';', '')}.png", _encode(image if mode == "I;16" else _noise(mode), "PNG")
    yield "valid-clear-palette.png", _encode(_noise("P"), "PNG", transparency=3)
    for mode in ("L", "RGB", "CMYK"):
        yield f"valid-{mode}.jpg", _encode(_noise(mode), "JPEG")
    exif = _noise().getexif()
    exif[274] = 6
    yield "valid-progressive.jpg", _encode(_noise(), "JPEG", progressive=True, exif=exif)
    yield "valid-lossy.webp", _encode(_noise(), "WEBP")
    yield "valid-lossless.webp", _encode(_noise("RGBA"), "WEBP", lossless=True)
    frames: dict[str, Any] = dict(save_all=True, append_images=[_noise("L")], duration=50)
    yield "valid-animated.webp", _encode(_noise(), "WEBP", **frames)
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield f"valid-{compression}.tif", _encode(_noise(), "TIFF", compression=compression)
    floats = Image.fromarray(np.full((48, 64), np.nan, np.float32))
    yield "valid-float-nan.tif", _encode(floats, "TIFF")
    yield "valid.gif", _encode(_noise("P"), "GIF")
    yield "valid-animated.gif", _encode(_noise("P"), "GIF", **frames)
    for mode in ("1", "P", "RGB"):
        yield f"valid-{mode}.bmp", _encode(_noise(mode), "BMP")


def _truncated(valid: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Valid files cut off at their structures and at every eighth of their length."""
    markers = (b"IHDR", b"PLTE", b"IDAT", b"IEND", b"\xff\xc0", b"\xff\xda", b"VP8", b"ANMF", b"\x2c\0\0")
    for name, data in valid.items():
        lengths = {1, 4, 8, 12, 20, 30, *(len(data) * eighth // 8 for eighth in range(1, 8)), len(data) - 1}
        for marker in markers:
            if (start := data.find(marker)) > 0:
                lengths |= {start, start + len(marker)}
        for length in sorted(lengths):
            if name.startswith("valid-RGB") or length % 3 == 0:
                yield f"cut-{length}-{name}", data[:length]


def _flipped(valid: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Valid files with one to eight bits flipped, every other time within the header."""
    rng = random.Random(0)  # noqa: S311
    for name, data in valid.items():
        for flips in range(1, 9):
            damaged = bytearray(data)
            reach = len(data) if flips % 2 else min(len(data), 120)
            for _ in range(flips):
                damaged[rng.randrange(4, reach)] ^= 1 << rng.randrange(8)
            yield f"flip-{flips - 1}-{name}", bytes(damaged)


def _disguised(valid: dict[str, bytes]) -> Iterator[tuple[str, bytes]]:
    """Other formats under an image's name, and two formats in one file."""
    picture = valid["valid-RGB.png"]
    script = b"<html><script>alert(1)</script></html>"
    svg = (
        b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><image href='file:///etc/passwd'/></svg>"
    )
    yield "empty.png", b""
    yield "one-byte.jpg", b"\xff"
    yield "zeros.png", bytes(5000)
    yield "text.png", b"hello\n"
    yield "drawing.png", svg
    yield "page.jpg", script
    yield "postscript.png", b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(x) run\n"
    yield "document.png", b"%PDF-1.7\n1 0 obj<</OpenAction<</S/JavaScript>>>>endobj\n"
    yield "program.png", b"\x7fELF" + bytes(200)
    yield "pickle.png", b"\x80\x04cposix\nsystem\n(S'true'\ntR."
    for kind in ("PPM", "ICO", "TGA", "PCX", "SGI", "DDS", "IM", "PDF", "EPS"):
        yield f"{kind.lower()}-called.png", _encode(_noise(), kind)
    for extension in ("jpg", "gif", "svg", "txt", "exe"):
        yield f"png-called.{extension}", picture
    yield "picture-and-page.png", picture + script
    yield "page-and-picture.png", script + picture
    archive = _zip({"../../escape.txt": b"x", "/etc/absolute": b"x", "C:\\escape": b"x", "ok.png": picture})
    yield "traversal.zip", archive
    yield "picture-and-zip.png", picture + archive
    yield "bomb.zip", _zip({"zeros.png": bytes(30_000_000)})
    yield "nested.zip", _zip({"inner.zip": _zip({"inner.zip": _zip({"zeros": bytes(3_000_000)})})})


def _zip(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def _png(
    width: int, height: int, depth: int = 8, colour: int = 2, more: bytes = b"", rows: bytes = b""
) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return PNG + _chunk(b"IHDR", head) + more + _chunk(b"IDAT", zlib.compress(rows)) + _chunk(b"IEND", b"")


def _false_headers() -> Iterator[tuple[str, bytes]]:
    """Headers that promise what the file does not hold."""
    huge = 2**31 - 1
    for width, height in (
        *((0, 0), (0, 9), (65500, 65500), (13377, 13377)),
        *((huge, 1), (1, huge), (2**32 - 1, 9)),
    ):
        yield f"lie-{width}x{height}.png", _png(width, height)
    for depth, colour in ((0, 2), (3, 2), (16, 3), (8, 7), (255, 255)):
        yield f"lie-depth-{depth}-{colour}.png", _png(9, 9, depth, colour, rows=bytes(300))
    yield from _false_jpeg_and_gif()
    yield from _false_bmp_and_tiff()
    webp = bytearray(_encode(_noise(), "WEBP"))
    for place, value in ((4, 2**32 - 2), (16, 2**32 - 2), (26, 0x3FFF3FFF)):
        damaged = bytearray(webp)
        struct.pack_into("<I", damaged, place, value)
        yield f"lie-{place}.webp", bytes(damaged)


def _false_jpeg_and_gif() -> Iterator[tuple[str, bytes]]:
    jpeg = bytearray(_encode(_noise(), "JPEG"))
    place = jpeg.index(b"\xff\xc0") + 5
    for height, width in ((0, 0), (65500, 65500), (65500, 600), (1, 65500)):
        struct.pack_into(">HH", jpeg, place, height, width)
        yield f"lie-{width}x{height}.jpg", bytes(jpeg)
    gif = bytearray(_encode(_noise("P"), "GIF"))
    for place in (6, gif.index(b"\x2c") + 5):
        wide = bytearray(gif)
        struct.pack_into("<HH", wide, place, 65535, 65535)
        yield f"lie-{place}.gif", bytes(wide)


def _false_bmp_and_tiff() -> Iterator[tuple[str, bytes]]:
    bmp = bytearray(_encode(_noise(), "BMP"))
    for width, height in ((2**31 - 1, 1), (-64, 48), (64, -48), (6000, 6000), (64, -(2**31))):
        struct.pack_into("<ii", bmp, 18, width, height)
        yield f"lie-{width}x{height}.bmp", bytes(bmp)
    tiff = bytearray(_encode(_noise(), "TIFF"))
    start = struct.unpack_from("<I", tiff, 4)[0]
    for number in range(struct.unpack_from("<H", tiff, start)[0]):
        for value in (0, 2**31 - 1, 2**32 - 1):
            damaged = bytearray(tiff)
            struct.pack_into("<I", damaged, start + 2 + 12 * number + 8, value)
            yield f"lie-tag{number}-{value}.tif", bytes(damaged)
    struct.pack_into("<H", tiff, start, 65535)
    yield "lie-tags.tif", bytes(tiff)


def repeated(scale: float = 1.0) -> Iterator[tuple[str, bytes]]:
    """Small files that cause much work: compressed text, millions of chunks, many scans of one image.

    Args:
        scale: of the number of repetitions; at 1, files are as large as an upload may be.
    """
    zeros = zlib.compress(bytes(int(200_000_000 * scale)))
    rows = bytes((3 * 9 + 1) * 9)
    yield "flood-text.png", _png(9, 9, more=_chunk(b"zTXt", b"a\0\0" + zeros), rows=rows)
    yield "flood-international.png", _png(9, 9, more=_chunk(b"iTXt", b"a\0\1\0\0\0" + zeros), rows=rows)
    yield "flood-profile.png", _png(9, 9, more=_chunk(b"iCCP", b"a\0\0" + zeros), rows=rows)
    yield "flood-pixels.png", _png(9, 9, rows=bytes(int(200_000_000 * scale)))
    chunks = int(1_600_000 * scale)
    yield "flood-chunks.png", _png(9, 9, more=_chunk(b"teXt", b"") * chunks, rows=rows)
    yield "flood-empty-data.png", _png(9, 9, more=_chunk(b"IDAT", b"") * chunks, rows=rows)
    jpeg, segments = _encode(_noise(), "JPEG"), int(4_900_000 * scale)
    yield "flood-segments.jpg", jpeg[:2] + b"\xff\xe7\0\2" * segments + jpeg[2:]
    yield "flood-comments.jpg", jpeg[:2] + b"\xff\xfe\0\2" * segments + jpeg[2:]
    exif = b"\xff\xe1" + struct.pack(">H", 2008) + b"Exif\0\0" + bytes(2000)
    yield "flood-exif.jpg", jpeg[:2] + exif * int(9000 * scale) + jpeg[2:]
    yield "flood-padding.jpg", jpeg[:2] + b"\xff" * int(19_000_000 * scale) + jpeg[2:]
    yield "flood-passes.jpg", _many_passes(6000, 4000, 400)
    gif = _encode(_noise("P"), "GIF")
    place = gif.index(b"\x2c")
    yield "flood-comments.gif", gif[:place] + b"\x21\xfe\x01a\0" * int(3_900_000 * scale) + gif[place:]
    yield (
        "flood-extensions.gif",
        gif[:place] + b"\x21\xf9\x04\0\0\0\0\0" * int(2_400_000 * scale) + gif[place:],
    )
    tag = struct.pack("<HHII", 40000, 3, 1, 0)
    yield "flood-tags.tif", b"II*\0\x08\0\0\0" + struct.pack("<H", 65000) + tag * 65000 + bytes(4)
    yield "flood-strips.tif", _many_strips(int(2_430_000 * scale))
    for skip in (b"\x02\x14", b"\xff\xff"):
        yield f"flood-skip-{skip[0]}.bmp", _skipping(31_000_000, skip)
    yield "flood-circle.tif", b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + tag + struct.pack("<I", 8)
    values = struct.pack("<HHII", 258, 3, 2**27, 8)
    yield "flood-values.tif", b"II*\0\x08\0\0\0" + struct.pack("<H", 1) + values + bytes(4)


def _many_strips(count: int) -> bytes:
    """A TIFF one pixel wide, with a strip for each row."""
    place = 8 + 2 + 12 * 10 + 4
    entries = [(256, 1, 1), (257, 1, count), (258, 1, 8), (259, 1, 1), (262, 1, 1), (273, count, place)]
    entries += [(277, 1, 1), (278, 1, 1), (279, count, place + 4 * count), (284, 1, 1)]
    head = b"II*\0\x08\0\0\0" + struct.pack("<H", len(entries))
    head += b"".join(struct.pack("<HHII", tag, 4, length, value) for tag, length, value in entries) + bytes(4)
    return head + struct.pack("<I", place + 8 * count) * count + struct.pack("<I", 1) * count + b"\0"


def _skipping(width: int, skip: bytes) -> bytes:
    """A run-length coded BMP of one row, in which a few bytes skip any number of pixels."""
    rows = b"\0\2" + skip + b"\0\1"
    head = struct.pack("<IiiHHIIiiII", 40, width, 1, 1, 8, 1, len(rows), 0, 0, 256, 0)
    start = 14 + len(head) + 4 * 256
    return b"BM" + struct.pack("<IHHI", start + len(rows), 0, 0, start) + head + bytes(4 * 256) + rows


def _many_passes(width: int, height: int, passes: int) -> bytes:
    """A progressive JPEG whose scan is repeated `passes` times."""
    empty = _encode(Image.new("L", (width, height)), "JPEG", progressive=True)
    scan = empty.rindex(b"\xff\xda")
    last = empty[scan:-2]
    return empty[:-2] + last * passes + empty[-2:]


def _large() -> Iterator[tuple[str, bytes]]:
    """Images at the size limit, in the formats that take most memory."""
    size = (8000, 3990)
    yield "large-alpha.png", _encode(Image.new("RGBA", size, (9, 9, 9, 9)), "PNG", compress_level=1)
    yield "large-deep.png", _encode(Image.new("I;16", size, 9), "PNG", compress_level=1)
    yield "large-palette.gif", _encode(Image.new("P", size), "GIF")
    yield "large-float.tif", _encode(Image.new("F", (2300, 2200), 0.5), "TIFF", compression="tiff_lzw")
    yield (
        "large-alpha.webp",
        _encode(Image.new("RGBA", (8000, 3990), (9, 9, 9, 9)), "WEBP", lossless=True, method=0),
    )
    exif = Image.new("L", (1, 1)).getexif()
    exif[274] = 6
    yield (
        "large-progressive.jpg",
        _encode(Image.new("RGB", size, "teal"), "JPEG", progressive=True, exif=exif),
    )
    yield "large-twice.png", _png(20_000, 20_000, 1, 0, rows=bytes(2501 * 20_000))
