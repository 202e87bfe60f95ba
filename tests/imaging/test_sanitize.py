"""Files with many parts are refused before a decoder sees them; ordinary files pass."""

import io

import numpy as np
import pytest
from PIL import Image

from medvit import imaging
from medvit.errors import MedvitError
from medvit.imaging import sanitize

REPEATED_PARTS = (
    "flood-chunks.png", "flood-empty-data.png", "flood-segments.jpg", "flood-comments.jpg",
    "flood-padding.jpg", "flood-comments.gif", "flood-extensions.gif", "flood-tags.tif", "flood-strips.tif",
)  # fmt: skip


@pytest.mark.parametrize("name", REPEATED_PARTS)
def test_a_file_of_many_parts_is_refused(hostile_files, name):
    with pytest.raises(MedvitError, match="too many parts for a valid image"):
        sanitize.check_structure(hostile_files[name])


def test_a_run_length_coded_bmp_is_refused(hostile_files):
    for name in ("flood-skip-2.bmp", "flood-skip-255.bmp"):
        with pytest.raises(MedvitError, match="run-length"):
            imaging.open_image(hostile_files[name])


def test_a_jpeg_with_many_scans_is_refused(hostile_files):
    with pytest.raises(MedvitError, match="too many scans"):
        imaging.open_image(hostile_files["flood-passes.jpg"])


@pytest.mark.parametrize("kind", imaging.FORMATS)
def test_a_large_ordinary_image_passes(kind):
    pixels = np.random.default_rng(0).integers(0, 256, (500, 600, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    options = {"progressive": True} if kind == "JPEG" else {}
    Image.fromarray(pixels).save(buffer, kind, **options)
    sanitize.check_structure(buffer.getvalue())
    sanitize.check_scans(buffer.getvalue(), 500 * 600)
