"""Bulk classification: one row per file, whatever the files are."""

import io
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import medvit
from medvit import imaging, limits
from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.inference import bulk
from medvit.inference.budget import Budget
from medvit.memory import LargeImageLock


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


def open_files(folder: Path) -> list[str]:
    """Files below a folder that this process has open."""
    targets = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [str(target) for target in targets if target.is_relative_to(folder)]


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="lists open files by /proc")
def test_many_zips_are_not_all_kept_open(tmp_path):
    zips = [pack(tmp_path / f"{i:02}.zip", {"a.png": png(i), "b.png": png(i + 1)}) for i in range(40)]
    with bulk.Reader() as reader:
        for file in bulk.list_files(zips):
            assert imaging.open_image(reader(file)).width == 28
            assert len(open_files(tmp_path)) <= bulk.OPEN_ZIPS
        assert len(open_files(tmp_path)) == bulk.OPEN_ZIPS
    assert not open_files(tmp_path)


def test_a_folder_gives_the_answers_of_the_single_pictures_in_order(predictor, folder):
    rows = classify(predictor, folder, batch_size=4)
    assert [row.file for row in rows] == [
        "0.png", "1.png", "2.png", "3.png", "3b.png", "4.png", "5.png", "6.png",
        "more/7.png", "more/8.png", "more/9.png",
    ]  # fmt: skip
    for row in rows:
        if row.file == "3b.png":
            assert "damaged" in row.note or "not an image" in row.note
            assert (row.label, row.probability) == ("", None)
        else:
            single = predictor(folder / row.file)
            assert (row.label, row.note) == (single["label"], "")
            assert row.probability == pytest.approx(max(single["calibrated"].values()), abs=1e-5)


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
    ("members", "damage", "message"),
    [
        ({"bomb.png": bytes(10**7)}, None, "bomb"),
        ({"inner.zip": b"PK"}, None, "zip inside a zip"),
        ({"locked.png": png()}, lock, "password"),
        ({"wrong.png": png()}, lie_about_checksum, "damaged in the zip"),
        ({"large.png": np.random.default_rng(0).bytes(limits.IMAGE_BYTES + 1)}, None, "at most 20 MB"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else None,
)
def test_a_bad_member_is_a_row_with_its_reason(predictor, tmp_path, members, damage, message):
    path = pack(tmp_path / "some.zip", members)
    if damage:
        damage(path)
    good = tmp_path / "good.png"
    good.write_bytes(png())
    rows = classify(predictor, path, good)
    assert [bool(row.note) for row in rows] == [True, False]
    assert message in rows[0].note
    assert rows[1].label


def test_a_packing_that_takes_memory_as_the_file_says_is_not_unpacked(predictor, tmp_path):
    (row,) = classify(predictor, pack(tmp_path / "a.zip", {"a.png": png()}, zipfile.ZIP_LZMA))
    assert "compression method" in row.note


def test_a_zip_with_an_enormous_table_of_contents_is_refused(tmp_path):
    entries = 100_000
    with (tmp_path / "many.zip").open("wb") as file:
        entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", *(0,) * 6, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0) + b"a"
        file.write(entry * entries)
        file.write(struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, len(entry) * entries, 0, 0))
    with pytest.raises(MedvitError, match="table of contents"):
        bulk.list_files([tmp_path / "many.zip"])


def test_what_is_no_zip_is_refused_by_name(tmp_path):
    (tmp_path / "fake.zip").write_bytes(b"hello")
    with pytest.raises(MedvitError, match=r"fake\.zip"):
        bulk.list_files([tmp_path / "fake.zip"])


def test_too_many_files_or_bytes_are_refused_before_one_is_read(folder, monkeypatch):
    monkeypatch.setattr(limits, "BULK_FILES", 10)
    with pytest.raises(MedvitError, match="10 files"):
        bulk.list_files([folder])
    assert len(bulk.list_files([folder], limited=False)) == 11
    monkeypatch.setattr(limits, "BULK_FILES", 11)
    monkeypatch.setattr(limits, "BULK_BYTES", 5000)
    with pytest.raises(MedvitError, match="Split them"):
        bulk.list_files([folder])


def test_nothing_at_all_is_said_so(tmp_path):
    with pytest.raises(MedvitError, match="no file"):
        bulk.list_files([tmp_path])
    with pytest.raises(MedvitError, match="nowhere"):
        bulk.list_files([tmp_path / "nowhere"])


def test_a_long_name_with_control_characters_is_shortened_and_escaped(tmp_path):
    (tmp_path / ("\x1b" + "x" * 240 + ".png")).write_bytes(png())
    (file,) = bulk.list_files([tmp_path])
    assert file.name.startswith(r"\x1bxxx")
    assert file.name.endswith("xxx.png")
    assert len(file.name) == 200


def test_a_zip_with_too_many_entries_is_refused_before_they_are_parsed(tmp_path, monkeypatch):
    path = pack(tmp_path / "many.zip", {f".{i}": b"" for i in range(20)})
    monkeypatch.setattr(limits, "BULK_FILES", 19)
    data = path.read_bytes()
    end = data.rindex(b"PK\5\6")
    path.write_bytes(data[: end + 8] + struct.pack("<HH", 1, 1) + data[end + 12 :])  # it says that it has one
    with pytest.raises(MedvitError, match="At most 19 files"):
        bulk.list_files([path])
    with pytest.raises(MedvitError, match="no file"):
        bulk.list_files([path], limited=False)


@pytest.mark.parametrize("name", [".{}.png", "__MACOSX/{}.png", "{}/"])
def test_hidden_entries_and_folders_of_a_zip_count_but_are_not_classified(tmp_path, monkeypatch, name):
    path = pack(tmp_path / "a.zip", {name.format(i): b"" for i in range(20)} | {"a.png": png()})
    assert [file.name for file in bulk.list_files([path])] == ["a.png"]
    monkeypatch.setattr(limits, "BULK_FILES", 20)
    with pytest.raises(MedvitError, match="20 files"):
        bulk.list_files([path])


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_is_given_twice_counts_twice(tmp_path, monkeypatch):
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for _ in range(3):
            archive.writestr("a.png", png())
    assert len(bulk.list_files([path, path])) == 6
    monkeypatch.setattr(limits, "BULK_FILES", 5)
    with pytest.raises(MedvitError, match="5 files"):
        bulk.list_files([path, path])


def test_a_budget_counts_the_cpu_time_of_decoding_and_of_the_model(predictor, folder):
    budget = Budget(seconds=1000, cpu_seconds=0)
    assert not budget.exceeded()
    with bulk.Reader() as reader:
        rows = [
            row
            for rows in bulk.predict(predictor, bulk.list_files([folder]), reader, budget=budget)
            for row in rows
        ]
    assert len(rows) == 11
    assert budget.exceeded() == "0 s of CPU time"


def test_a_caller_can_stop_while_a_picture_is_decoded(predictor, folder, monkeypatch):
    monkeypatch.setattr(limits, "LARGE_IMAGE_PIXELS", 1)
    monkeypatch.setattr(bulk, "POLL_SECONDS", 0.01)
    with bulk.Reader() as reader, LargeImageLock() as lock:
        lock.acquire()  # decoding waits for it
        rows = bulk.predict(predictor, bulk.list_files([folder]), reader, budget=Budget(1000, 1000))
        assert [next(rows), next(rows)] == [[], []]
        rows.close()  # does not wait for the picture
        assert list(rows) == []


def test_closing_the_generator_stops_early(predictor, folder):
    with bulk.Reader() as reader:
        rows = bulk.predict(predictor, bulk.list_files([folder]), reader, batch_size=2)
        first = next(rows)
        rows.close()
    assert [row.file for row in first] == ["0.png", "1.png"]
    assert list(rows) == []


def test_names_from_several_folders_begin_with_the_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("a/1.png", "a/sub/2.png", "b/1.png"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (8, 8)).save(name)
    with zipfile.ZipFile("c.zip", "w") as archive:
        archive.write("a/1.png", "1.png")
    paths = [Path("a"), Path("b"), Path("c.zip"), Path("b/1.png")]
    names = [file.name for file in bulk.list_files(paths, full_names=True)]
    assert names == ["a/1.png", "a/sub/2.png", "b/1.png", "c.zip/1.png", "b/1.png"]
    assert [file.name for file in bulk.list_files(paths)] == ["1.png", "sub/2.png", "1.png", "1.png", "1.png"]
