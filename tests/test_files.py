"""Files and folders are written completely or not at all."""

import pytest

from medvit import files
from medvit.errors import MedvitError


def test_a_file_is_renamed_when_it_is_complete(tmp_path):
    target = tmp_path / "report.csv"
    with files.atomic_file(target, "w", encoding="utf-8") as file:
        file.write("é")
        assert not target.exists()
    assert target.read_text("utf-8") == "é"
    assert list(tmp_path.iterdir()) == [target]


def test_an_exception_leaves_the_earlier_file_as_it_was(tmp_path):
    target = tmp_path / "report.csv"
    target.write_text("earlier")
    with pytest.raises(ZeroDivisionError), files.atomic_file(target, "w") as file:
        file.write("half")
        raise ZeroDivisionError
    assert target.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [target]


def test_a_folder_is_renamed_when_it_is_complete(tmp_path):
    target = tmp_path / "a" / "checkpoint"
    with files.atomic_folder(target) as folder:
        (folder / "card.json").write_text("{}")
        assert not target.exists()
    assert (target / "card.json").read_text() == "{}"
    assert list(target.parent.iterdir()) == [target]


def test_a_full_disk_leaves_no_folder_and_is_reported(tmp_path):
    target = tmp_path / "checkpoint"
    with pytest.raises(MedvitError, match="No space left"), files.atomic_folder(target):
        raise OSError(28, "No space left on device")
    assert list(tmp_path.iterdir()) == []


def test_checksums_are_those_of_the_content(tmp_path):
    path = tmp_path / "empty"
    path.touch()
    assert files.md5sum(path) == "d41d8cd98f00b204e9800998ecf8427e"
    assert files.sha256(path) == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
