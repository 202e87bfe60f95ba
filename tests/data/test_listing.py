"""Pictures are listed from folders or metadata.csv; what cannot be used is refused in one sentence."""

import errno
import os
from pathlib import Path

import pytest
from PIL import Image

from medvit.data.dataset import is_plain_text
from medvit.data.listing import list_folder
from medvit.errors import MedvitError


def picture(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (20, 20)).save(path)


@pytest.fixture
def scans(tmp_path):
    for name in ("a/1.png", "a/2.png", "b/1.png"):
        picture(tmp_path / "scans" / name)
    return tmp_path / "scans"


def metadata(scans, *rows, header="file_name,label"):
    (scans / "metadata.csv").write_text("\n".join([header, *rows]))


def test_classes_are_folders_and_numbers_are_ordered_as_numbers(tmp_path):
    for label in ("10", "9", "0", "-1"):
        picture(tmp_path / label / "x.png")
    listing = list_folder(tmp_path)
    assert listing.classes == ("-1", "0", "9", "10")
    assert [p.label for p in listing.pictures] == ["-1", "0", "10", "9"]


def test_metadata_gives_labels_splits_and_groups(scans):
    metadata(scans, "a/1.png,x,train,7", "a/2.png,y,Validation,", header="file_name,label,split,group")
    first, second = list_folder(scans).pictures
    assert (first.label, first.split, first.group) == ("x", "train", "7")
    assert (second.label, second.split, second.group) == ("y", "val", None)


def test_a_table_from_windows_is_read(scans):
    metadata(scans, "a\\1.png,x", "b\\1.png,y")
    (scans / "metadata.csv").rename(scans / "Metadata.CSV")
    assert [(p.name, p.label) for p in list_folder(scans).pictures] == [("a/1.png", "x"), ("b/1.png", "y")]


def test_names_of_columns_may_have_capitals(scans):
    metadata(scans, "a/1.png,x,train,7", "a/2.png,y,test,8", header="File_Name,Label,Split,Group")
    assert [(p.split, p.group) for p in list_folder(scans).pictures] == [("train", "7"), ("test", "8")]


@pytest.mark.parametrize(
    ("header", "words"),
    [("file_name,label", "Line 2 of .* more cells"), ("file_name,label,Label", "columns twice: label")],
)
def test_a_label_with_a_comma_and_two_columns_of_one_name_are_refused(scans, header, words):
    metadata(scans, "a/1.png,lung, left,x", "a/2.png,lung, right,x", header=header)
    with pytest.raises(MedvitError, match=words):
        list_folder(scans)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("../outside.png,x", "1 lead out of the folder: line 3"),
        ("/etc/passwd,x", "lead out of the folder"),
        ("a/absent.png,x", "name a file that does not exist"),
        ("a/1.png,x", "list a file again"),
        ("a/./1.png,x", "list a file again"),
        ("a/2.png,", "have no file_name or no label"),
        (f"{'x' * 5000},x", "name a file that does not exist"),
        ("a/2\0.png,x", "name a file that does not exist"),
    ],
)
def test_an_unusable_row_is_named(scans, row, words):
    picture(scans.parent / "outside.png")
    metadata(scans, "a/1.png,x", row)
    with pytest.raises(MedvitError, match=words):
        list_folder(scans)


def test_a_link_out_of_the_folder_is_refused(scans):
    picture(scans.parent / "secret.png")
    (scans / "a" / "link.png").symlink_to(scans.parent / "secret.png")
    with pytest.raises(MedvitError, match=r"1 links lead out of scans: a/link\.png"):
        list_folder(scans)
    metadata(scans, "a/1.png,x", "a/link.png,y")
    with pytest.raises(MedvitError, match="lead out of the folder"):
        list_folder(scans)


def test_a_loop_of_links_is_not_followed(scans):
    (scans / "a" / "loop").symlink_to(scans)
    listing = list_folder(scans)
    assert (len(listing.pictures), listing.left_out) == (3, ["a/loop"])


def test_a_subfolder_that_cannot_be_read_is_refused(scans, monkeypatch):
    picture(scans / "a" / "patient" / "1.png")
    scandir = os.scandir

    def denied(path):
        if Path(path).name == "patient":  # for root, no permission is missing
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(MedvitError, match=r"scans cannot be read \(Permission denied: patient\)"):
        list_folder(scans)


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("file,label", "no column file_name"),
        ("label", r"file_name\. Its columns must be .* split and group\.$"),
        ("", "no column file_name, label"),
        ("file_name;label", "separated by commas and not by semicolons"),
        ("file_name\tlabel", "separated by commas and not by tabs"),
    ],
)
def test_metadata_without_its_columns_is_refused(scans, header, words):
    metadata(scans, header=header)
    with pytest.raises(MedvitError, match=words):
        list_folder(scans)


def test_metadata_without_splits_has_those_of_the_first_folders(tmp_path):
    for name in ("Train/1.png", "Train/2.png", "valid/1.png", "test/x/1.png"):
        picture(tmp_path / name)
    rows = ["Train/1.png,a", "Train/2.png,b", "valid/1.png,a", "test/x/1.png,b"]
    metadata(tmp_path, *rows)
    splits = {p.name: p.split for p in list_folder(tmp_path).pictures}
    assert splits == {
        "Train/1.png": "train", "Train/2.png": "train", "valid/1.png": "val", "test/x/1.png": "test"
    }  # fmt: skip
    picture(tmp_path / "other.png")
    metadata(tmp_path, *rows, "other.png,a")
    assert {p.split for p in list_folder(tmp_path).pictures} == {None}


def test_metadata_that_is_no_text_is_refused(scans):
    (scans / "metadata.csv").write_bytes(b"file_name,label\n\xff\xfe\x00,x\n")
    with pytest.raises(MedvitError, match="UTF-8"):
        list_folder(scans)


def test_a_split_for_some_rows_only_is_refused(scans):
    metadata(scans, "a/1.png,x,train", "b/1.png,y,", header="file_name,label,split")
    with pytest.raises(MedvitError, match=r"1 rows of metadata\.csv have no split: b/1\.png"):
        list_folder(scans)
    metadata(scans, "a/1.png,x,holdout", header="file_name,label,split")
    with pytest.raises(MedvitError, match="none of train, val, test"):
        list_folder(scans)


def test_no_picture_one_class_and_empty_classes_are_refused(tmp_path):
    with pytest.raises(MedvitError, match="no labelled picture"):
        list_folder(tmp_path)
    picture(tmp_path / "a" / "1.png")
    with pytest.raises(MedvitError, match="one class, a"):
        list_folder(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "c").mkdir()
    with pytest.raises(MedvitError, match="2 class folders of .* have no picture: b, c"):
        list_folder(tmp_path)


def test_folders_of_splits_beside_classes_are_refused(scans):
    picture(scans / "train" / "a" / "1.png")
    with pytest.raises(MedvitError, match=r"folders of splits \(train\) beside other folders \(a, b\)"):
        list_folder(scans)


def test_a_class_name_that_cannot_be_displayed_is_refused(scans):
    picture(scans / "a\nb" / "1.png")
    with pytest.raises(MedvitError, match=r"1 class names of scans are unusable: a\\nb"):
        list_folder(scans)


def test_unicode_names_are_kept(scans):
    picture(scans / "Gewebe ü 组织" / "ß 😀.png")
    assert "Gewebe ü 组织" in list_folder(scans).classes


@pytest.mark.parametrize(
    ("folder", "title"), [("scans ", "scans"), ("x" * 120, "x" * 50 + "…" + "x" * 49), (" ", "pictures")]
)
def test_every_title_is_one_that_a_checkpoint_may_have(tmp_path, folder, title):
    for label in "ab":
        picture(tmp_path / folder / label / "1.png")
    assert list_folder(tmp_path / folder).title == title
    assert is_plain_text(title)
