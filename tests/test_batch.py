"""Many pictures in, one row each out: whatever the files are, nothing stops the rest."""

import csv
import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import medvit
from medvit import imaging
from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.inference import bulk
from medvit.ui.server.multipart import Multipart

from .conftest import run_script


@pytest.fixture(scope="module")
def predictor(trained):
    return medvit.load("breastmnist", "spt_lsa", trained)


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """Ten pictures in two folders, a broken one among them, and hidden files."""
    root = tmp_path_factory.mktemp("pictures")
    (root / "more").mkdir()
    for i in range(10):
        path = root / ("more" if i > 6 else ".") / f"{i}.png"
        Image.fromarray(synthetic.draw("breastmnist", i)).save(path)
    (root / "3b.png").write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(50))
    (root / ".DS_Store").write_bytes(b"x")
    return root


def classify(predictor, *paths, **options):
    with bulk.Reader() as reader:
        files = bulk.list_files(paths)
        return [row for rows in bulk.predict(predictor, files, reader, **options) for row in rows]


def png(number=0) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(synthetic.draw("breastmnist", number)).save(buffer, "PNG")
    return buffer.getvalue()


def pack(path: Path, members: dict[str, bytes], compression=zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def test_many_zips_are_not_all_kept_open(tmp_path):
    zips = [pack(tmp_path / f"{i:02}.zip", {"a.png": png(i), "b.png": png(i + 1)}) for i in range(40)]
    with bulk.Reader() as reader:
        for file in bulk.list_files(zips):
            assert imaging.open_image(reader(file)).width == 28
            assert len(reader._zips) <= bulk.OPEN_ZIPS
        kept = [archive for archive, _ in reader._zips.values()]
    assert all(archive.fp is None for archive in kept)
    assert len(kept) == bulk.OPEN_ZIPS


def test_a_folder_gives_the_answers_of_the_single_pictures_in_order(predictor, folder):
    found = classify(predictor, folder, batch=4)
    assert [row.file for row in found] == [
        "0.png", "1.png", "2.png", "3.png", "3b.png", "4.png", "5.png", "6.png",
        "more/7.png", "more/8.png", "more/9.png",
    ]  # fmt: skip
    for row in found:
        if row.file == "3b.png":
            assert "damaged" in row.note or "not an image" in row.note
            assert (row.label, row.probability) == ("", None)
        else:
            alone = predictor(folder / row.file)
            assert (row.label, row.note) == (alone["label"], "")
            assert row.probability == pytest.approx(max(alone["calibrated"].values()), abs=1e-5)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_zip_gives_the_rows_of_its_folder_and_is_not_extracted(predictor, folder, tmp_path, compression):
    members = {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }
    members["__MACOSX/._0.png"] = b"resource fork"
    path = pack(tmp_path / "all.zip", members, compression)
    from_zip, from_folder = classify(predictor, path), classify(predictor, folder)
    assert [row.file for row in from_zip] == [row.file for row in from_folder]
    assert [row.label for row in from_zip] == [row.label for row in from_folder]
    assert list(tmp_path.iterdir()) == [path]


def test_a_name_that_climbs_out_of_the_zip_is_only_text(predictor, tmp_path):
    (tmp_path / "in").mkdir()
    path = pack(tmp_path / "in" / "evil.zip", {"../../escaped.png": png()})
    (row,) = classify(predictor, path)
    assert row.file == "../../escaped.png"
    assert row.label
    assert not list(tmp_path.rglob("escaped*"))


def lie_about_checksum(path: Path) -> None:
    data = bytearray(path.read_bytes())
    directory = data.rfind(b"PK\x01\x02")
    data[directory + 16] ^= 0xFF  # CRC in the table of contents
    path.write_bytes(bytes(data))


def lock(path: Path) -> None:
    data = bytearray(path.read_bytes())
    directory = data.rfind(b"PK\x01\x02")
    data[directory + 8] |= 1
    path.write_bytes(bytes(data))


@pytest.mark.parametrize(
    ("members", "damage", "words"),
    [
        ({"bomb.png": bytes(10**7)}, None, "bomb"),
        ({"inner.zip": b"PK"}, None, "zip inside a zip"),
        ({"locked.png": png()}, lock, "password"),
        ({"wrong.png": png()}, lie_about_checksum, "damaged in the zip"),
        ({"large.png": np.random.default_rng(0).bytes(limits.IMAGE_BYTES + 1)}, None, "at most 20 MB"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_bad_member_is_a_row_with_its_reason(predictor, tmp_path, members, damage, words):
    path = pack(tmp_path / "some.zip", members)
    if damage:
        damage(path)
    good = tmp_path / "good.png"
    good.write_bytes(png())
    rows = classify(predictor, path, good)
    assert [bool(row.note) for row in rows] == [True, False]
    assert words in rows[0].note
    assert rows[1].label


def test_a_packing_that_takes_memory_as_the_file_says_is_not_unpacked(predictor, tmp_path):
    (row,) = classify(predictor, pack(tmp_path / "a.zip", {"a.png": png()}, zipfile.ZIP_LZMA))
    assert "compressed in a way" in row.note


def test_a_zip_with_an_enormous_table_of_contents_is_refused(tmp_path):
    entries = 100_000
    with (tmp_path / "many.zip").open("wb") as file:
        one = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *(0,) * 6, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
        file.write(one * entries)
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(one) * entries, 0, 0))
    with pytest.raises(MedvitError, match="table of contents"):
        bulk.list_files([tmp_path / "many.zip"])


def test_what_is_no_zip_is_refused_by_name(tmp_path):
    (tmp_path / "fake.zip").write_bytes(b"hello")
    with pytest.raises(MedvitError, match=r"fake\.zip"):
        bulk.list_files([tmp_path / "fake.zip"])


def test_too_many_files_or_bytes_are_refused_before_one_is_read(folder, monkeypatch):
    monkeypatch.setattr(bulk, "BULK_FILES", 10)
    with pytest.raises(MedvitError, match="10 files"):
        bulk.list_files([folder])
    assert len(bulk.list_files([folder], limited=False)) == 11
    monkeypatch.setattr(bulk, "BULK_FILES", 11)
    monkeypatch.setattr(bulk, "BULK_BYTES", 5000)
    with pytest.raises(MedvitError, match="Split it"):
        bulk.list_files([folder])


def test_nothing_at_all_is_said_so(tmp_path):
    with pytest.raises(MedvitError, match="no file"):
        bulk.list_files([tmp_path])
    with pytest.raises(MedvitError, match="nowhere"):
        bulk.list_files([tmp_path / "nowhere"])


def test_control_and_direction_characters_are_shown_escaped():
    assert bulk.shown("a\x1b[31m\u202egnp.exe\udcff\n") == r"a\x1b[31m\u202egnp.exe\udcff\n"
    assert len(bulk.shown("x" * 5000)) == 200


def test_no_cell_is_a_formula():
    for text in ("=1+1", "+1", "-1", "@A1", "\tx", "\rx"):
        assert bulk.cell(text) == "'" + text
    assert [bulk.cell(value) for value in ("a=b", None, 0.5)] == ["a=b", "", "0.5000"]


def test_stopping_early_leaves_the_rest_undone(predictor, folder):
    with bulk.Reader() as reader:
        rows = bulk.predict(predictor, bulk.list_files([folder]), reader, batch=2)
        first = next(rows)
        rows.close()
    assert [row.file for row in first] == ["0.png", "1.png"]
    assert list(rows) == []


def command(folder, trained, out, *more):
    return run_script(
        "predict.py", folder, "--subset", "breastmnist", "--model", "spt_lsa", "--checkpoints", trained,
        "--out", out, *more,
    )  # fmt: skip


def test_the_command_writes_one_csv(predictor, folder, trained, tmp_path):
    Image.fromarray(synthetic.draw("breastmnist", 1)).save(folder / "=cmd.png")
    done = command(folder, trained, tmp_path / "out" / "results.csv")
    assert done.returncode == 0, done.stderr
    assert "1 of them could not be read" in done.stdout
    with (tmp_path / "out" / "results.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    expected = classify(predictor, folder)
    assert list(written[0]) == ["file", "label", "probability", "set", "in_distribution", "note"]
    assert [row["file"] for row in written] == [bulk.cell(row.file) for row in expected]
    assert [row["label"] for row in written] == [row.label for row in expected]
    assert "'=cmd.png" in [row["file"] for row in written]
    assert [p.name for p in (tmp_path / "out").iterdir()] == ["results.csv"]
    (folder / "=cmd.png").unlink()


def test_the_command_names_what_it_cannot_do(trained, tmp_path):
    done = command(tmp_path / "nowhere", trained, tmp_path / "r.csv")
    assert done.returncode == 1
    assert "nowhere" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def part(body: bytes, disposition: bytes) -> bytes:
    return b"--x\r\nContent-Disposition: form-data; " + disposition + b"\r\n\r\n" + body + b"\r\n"


def test_bytes_outside_of_files_are_counted_however_they_are_cut():
    body = (
        part(b"f" * 5000, b'name="files"; filename="a.png"')
        + part(b"v" * 300, b'name="text"')
        + part(b"f" * 5000, b'name="files"; filename="b.png"')
        + b"--x--\r\n"
    )
    sums = set()
    for step in (1, 7, len(body)):
        form = Multipart(b"multipart/form-data; boundary=x")
        for start in range(0, len(body), step):
            form.take(body[start : start + step])
        sums.add((form.field_bytes, form.parts))
    ((total, parts),) = sums
    assert 300 < total < 700  # the field, and the heads of the parts
    assert parts == 3
    other = Multipart(b"application/json")
    other.take(bytes(50))
    assert other.field_bytes == 50
