"""One's own pictures become a dataset: decoded once, split with a fixed seed, refused in one sentence."""

import os
import shutil

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from medvit import imaging
from medvit.data import SPLITS, cache, load_split, prepare, synthetic
from medvit.data.folder import dataset_name, open_dataset
from medvit.data.listing import list_folder
from medvit.data.splits import assign
from medvit.errors import MedvitError


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDVIT_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def scans(tmp_path):
    return synthetic.write_pictures(tmp_path / "scans")


def opened(path, **options):
    return open_dataset(path, options.pop("size", 32), announce=False, **options)


def prepared_folders(tmp_path):
    return [path.name for path in (tmp_path / "cache" / "datasets").iterdir() if path.name[0] not in ".k"]


def test_class_folders_become_stratified_splits_that_are_the_same_each_time(scans, tmp_path):
    dataset = opened(scans)
    assert dataset.classes == ("blood cell", "fundus", "tissue")
    assert (dataset.name, dataset.task, dataset.channels, dataset.own) == ("scans", "multi-class", 3, True)
    assert dataset.samples == {"train": 24, "val": 6, "test": 6}
    for split in SPLITS:
        images, labels = load_split(dataset, split)
        assert images.shape == (dataset.samples[split], 32, 32, 3) and images.dtype == np.uint8
        assert np.bincount(labels).tolist() == [dataset.samples[split] // 3] * 3
    assert opened(scans) == dataset
    copy = shutil.copytree(scans, tmp_path / "elsewhere" / "scans")
    assert opened(copy) == dataset  # the digest is that of the pixels, not of paths and times
    assert len(prepared_folders(tmp_path)) == 1


def test_the_pixels_are_those_of_an_upload(scans):
    dataset = opened(scans)
    names = cache.load_names(dataset)
    images, labels = load_split(dataset, "test")
    for i, name in enumerate(names["test"]):
        expected = imaging.to_source(imaging.open_image(scans / name), 32)
        np.testing.assert_array_equal(images[i], expected)
        assert name.split("/")[0] == dataset.classes[labels[i]]


def test_grey_pictures_give_one_channel(tmp_path):
    for label, level in (("dark", 40), ("light", 200)):
        (tmp_path / "grey" / label).mkdir(parents=True)
        for i in range(5):
            Image.new("L", (40, 40), level + i).save(tmp_path / "grey" / label / f"{i}.png")
    dataset = opened(tmp_path / "grey")
    images, labels = load_split(dataset, "train")
    assert (dataset.channels, dataset.task, images.shape[1:]) == (1, "binary-class", (32, 32))
    assert ((images.mean((1, 2)) > 100) == labels).all()


def test_folders_of_splits_are_kept_and_a_missing_one_is_drawn_from_train(tmp_path):
    root = synthetic.write_pictures(tmp_path / "scans", each=8, splits=("Training", "test"))
    dataset = opened(root)
    assert dataset.samples == {"train": 21, "val": 3, "test": 24}
    names = cache.load_names(dataset)
    assert all(name.startswith("Training/") for name in names["train"] + names["val"])
    assert all(name.startswith("test/") for name in names["test"])


def test_groups_never_cross_splits(scans):
    files = sorted(path for path in scans.rglob("*") if path.is_file())
    rows = [f"{path.relative_to(scans)},{path.parent.name},patient {i % 9}" for i, path in enumerate(files)]
    (scans / "metadata.csv").write_text("\n".join(["file_name,label,group", *rows]))
    dataset = opened(scans)
    group = {row.split(",")[0]: row.split(",")[2] for row in rows}
    members = {split: {group[n] for n in names} for split, names in cache.load_names(dataset).items()}
    assert all(members.values())
    assert not members["train"] & members["val"] | members["train"] & members["test"]
    assert not members["val"] & members["test"]


def test_the_groups_are_those_of_the_last_request(scans):
    def with_groups(kind):
        rows = ["file_name,label,split,group"]
        for number, path in enumerate(sorted(scans.rglob("picture *"))):
            split = ("train", "train", "val", "test")[number % 4]
            rows.append(f"{path.relative_to(scans)},{path.parent.name},{split},{kind and f'{kind} {number}'}")
        (scans / "metadata.csv").write_text("\n".join(rows))
        return opened(scans)

    digests = set()
    for kind in ("patient", "site", "patient", "", "patient"):
        dataset = with_groups(kind)
        digests.add(dataset.digest)
        assert {group.split(" ")[0] for group in prepare.load_groups(dataset, "train")} == {kind}
    assert len(digests) == 1  # the pixels, labels and splits are the same


def test_an_interrupted_preparation_goes_on_where_it_stopped(scans, tmp_path, monkeypatch):
    complete = opened(scans)
    images = load_split(complete, "train")[0].copy()
    shutil.rmtree(tmp_path / "cache")
    decoded = []
    original = prepare._decode

    def stopping(picture, size):
        decoded.append(picture.name)
        if len(decoded) == 20:
            raise KeyboardInterrupt
        return original(picture, size)

    monkeypatch.setattr(prepare, "_decode", stopping)
    with pytest.raises(KeyboardInterrupt):
        opened(scans)
    assert prepared_folders(tmp_path) == []
    first = len(decoded)
    assert opened(scans) == complete
    assert len(decoded) - first < 36  # those that were done are not decoded again
    np.testing.assert_array_equal(load_split(complete, "train")[0], images)


def test_only_the_process_that_prepares_says_so(scans, capsys):
    opened(scans)  # of several processes, any may be the first that comes
    assert capsys.readouterr().out.startswith("Preparing scans: 36 pictures")
    opened(scans)
    assert capsys.readouterr().out == ""


def test_unreadable_pictures_are_named_and_counted_or_left_out(scans, tmp_path):
    (scans / "fundus" / "empty.png").write_bytes(b"")
    (scans / "fundus" / "text\nof two lines.jpg").write_text("this is no picture")
    picture = (scans / "tissue" / "picture 0.png").read_bytes()
    (scans / "tissue" / "truncated.png").write_bytes(picture[: len(picture) // 2])
    with pytest.raises(
        MedvitError, match=r"3 of 39 pictures of scans cannot be read: fundus/empty\.png"
    ) as e:
        opened(scans)
    assert "text\\nof two lines.jpg" in str(e.value) and "\n" not in str(e.value)
    assert prepared_folders(tmp_path) == []
    dataset = opened(scans, skip_unreadable=True)
    assert sum(dataset.samples.values()) == 36
    assert not any("truncated" in name for names in cache.load_names(dataset).values() for name in names)
    with pytest.raises(MedvitError, match="3 of 39"):
        opened(scans)


def test_where_an_unreadable_picture_was_the_last_of_a_split_removing_it_draws_the_splits_anew(scans):
    (scans / "small").mkdir()
    for path in sorted((scans / "tissue").iterdir())[:4]:
        shutil.copy(path, scans / "small")
    drawn = {p.name: p.split for p in assign(list_folder(scans)) if p.label == "small"}
    test_picture = scans / next(name for name, split in drawn.items() if split == "test")
    test_picture.write_bytes(b"")
    with pytest.raises(MedvitError, match=r"small in test.* 1 of 40 .* remove these files"):
        opened(scans, skip_unreadable=True)
    test_picture.unlink()
    assert sum(opened(scans).samples.values()) == 39


def test_pictures_that_are_left_out_are_announced_each_time(scans, capsys):
    for name in ("c", "a", "d", "b"):
        (scans / "fundus" / f"{name}.png").write_bytes(b"")
    sentence = (
        "Left out 4 pictures that cannot be decoded: fundus/a.png, fundus/b.png, fundus/c.png and 1 more\n"
    )
    for _ in range(2):
        open_dataset(scans, 32, skip_unreadable=True)
        assert capsys.readouterr().out.endswith(sentence)
    opened(scans, skip_unreadable=True)
    assert capsys.readouterr().out == ""


def test_what_a_refused_attempt_left_is_removed_once_the_pictures_are_repaired(scans, tmp_path):
    def parts():
        return [path.name.split(".")[1] for path in (tmp_path / "cache" / "datasets").glob(".*.part")]

    other = shutil.copytree(scans, tmp_path / "other")
    for folder in (scans, other):
        (folder / "fundus" / "empty.png").write_bytes(b"")
        with pytest.raises(MedvitError, match="1 of 37"):
            opened(folder)
    assert sorted(parts()) == ["other", "scans"]
    (scans / "fundus" / "empty.png").unlink()
    (key,) = (path.name.split(".")[2] for path in (tmp_path / "cache" / "datasets").glob(".scans.*.part"))
    with FileLock(tmp_path / "cache" / "datasets" / "keys" / f"{key}.lock"):  # as a process that decodes
        opened(scans)
    assert sorted(parts()) == ["other", "scans"]
    opened(scans, size=16)
    assert parts() == ["other"]


def test_files_of_other_kinds_are_left_out_and_a_wrong_ending_does_not_matter(scans):
    (scans / "fundus" / "notes.txt").write_text("checked")
    (scans / "fundus" / ".DS_Store").write_bytes(b"\0")
    (scans / "fundus" / "picture 0.png").rename(scans / "fundus" / "no ending")
    (scans / "fundus" / "picture 5.png").rename(scans / "fundus" / "picture 5.jpg")
    assert sum(opened(scans).samples.values()) == 36


def test_a_full_disk_is_refused_with_the_number(scans, monkeypatch, tmp_path):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(prepare.shutil, "disk_usage", lambda path: usage._replace(free=50_000))
    with pytest.raises(MedvitError, match=r"scans needs 0\.1 MB at 32 pixels.* has 0\.1 MB free.*--size"):
        opened(scans)
    assert prepared_folders(tmp_path) == []


def test_a_damaged_cache_is_prepared_again(scans, tmp_path):
    dataset = opened(scans)
    path = cache.folder_of(dataset) / "train_images.npy"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(MedvitError, match="damaged"):
        load_split(dataset, "train")
    assert opened(scans) == dataset
    assert load_split(dataset, "train")[0].shape == (24, 32, 32, 3)


def test_pictures_that_are_not_here_are_asked_for(scans, tmp_path):
    dataset = opened(scans)
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(MedvitError, match="--data"):
        load_split(dataset, "train")
    with pytest.raises(MedvitError, match="32 pixels, not 64"):
        load_split(dataset, "train", 64)


@pytest.mark.parametrize("path", ["/nonexistent/scans", "a\0b", "x" * 5000])
def test_a_folder_that_does_not_exist_is_refused(path):
    with pytest.raises(MedvitError, match="The folder of pictures"):
        opened(path)


def test_a_source_size_out_of_range_is_refused(scans):
    with pytest.raises(MedvitError, match="from 16 to 512 pixels, not 5000"):
        opened(scans, size=5000)


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("My Scans (2024)", "my-scans-2024"), ("Röntgen", "rontgen"), ("写真", "pictures"),
        ("bloodmnist", "my-bloodmnist"),
    ],
)  # fmt: skip
def test_names_are_short_and_never_those_of_a_subset(tmp_path, folder, name):
    assert dataset_name(tmp_path / folder) == name


def test_a_folder_without_permission_is_one_sentence(scans):
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (scans / "fundus").chmod(0)
    with pytest.raises(MedvitError, match="cannot be read"):
        opened(scans)
    (scans / "fundus").chmod(0o755)
