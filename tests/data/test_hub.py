"""What the library `datasets` opens becomes a dataset too: parquet, and folders that it saved."""

import io
import json
import shutil
from pathlib import Path

import pytest
from huggingface_hub import constants
from PIL import Image

from medvit.data import hub, load_split, synthetic
from medvit.data.folder import open_dataset
from medvit.errors import MedvitError

datasets = pytest.importorskip("datasets")
pyarrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDVIT_CACHE", str(tmp_path / "cache"))


def png(number, subset="bloodmnist"):
    content = io.BytesIO()
    Image.fromarray(synthetic.draw(subset, number)).save(content, "PNG")
    return {"bytes": content.getvalue(), "path": None}


def table(count, first=0):
    features = datasets.Features(
        image=datasets.Image(), label=datasets.ClassLabel(names=["cell", "eye"])
    )  # fmt: skip
    images = [png(first + i, ("bloodmnist", "retinamnist")[i % 2]) for i in range(count)]
    return datasets.Dataset.from_dict({"image": images, "label": [i % 2 for i in range(count)]}, features)


def test_a_parquet_file_is_opened_and_split(tmp_path):
    table(20).to_parquet(tmp_path / "cells.parquet")
    dataset = open_dataset(tmp_path / "cells.parquet", 28, announce=False)
    assert (dataset.name, dataset.title, dataset.classes) == ("cells", "cells", ("cell", "eye"))
    assert dataset.samples == {"train": 12, "val": 4, "test": 4}
    images, labels = load_split(dataset, "train")
    drawn = {synthetic.draw(("bloodmnist", "retinamnist")[i % 2], i).tobytes(): i % 2 for i in range(20)}
    assert [drawn[image.tobytes()] for image in images] == labels.tolist()


@pytest.mark.parametrize("as_structure", [False, True])
def test_bytes_of_files_in_parquet_are_pictures(tmp_path, as_structure):
    images = [png(i) if as_structure else png(i)["bytes"] for i in range(12)]
    columns = pyarrow.table({"image": images, "label": ["cell", "eye"] * 6})
    parquet.write_table(columns, tmp_path / "cells.parquet")
    dataset = open_dataset(tmp_path / "cells.parquet", 28, announce=False)
    assert (dataset.classes, dataset.samples) == (("cell", "eye"), {"train": 8, "val": 2, "test": 2})
    drawn = {synthetic.draw("bloodmnist", i).tobytes() for i in range(12)}
    assert {image.tobytes() for image in load_split(dataset, "train")[0]} <= drawn


def test_parquet_files_of_splits_are_kept_apart(tmp_path):
    for i, split in enumerate(("train", "validation", "test")):
        table(6, 10 * i).to_parquet(tmp_path / f"{split}-00000-of-00001.parquet")
    assert open_dataset(tmp_path, 28, announce=False).samples == {"train": 6, "val": 6, "test": 6}


def test_a_split_is_found_anywhere_in_the_name_of_a_file(tmp_path):
    for i, split in enumerate(("train", "valid", "test")):
        table(6, 10 * i).to_parquet(tmp_path / f"scans_{split}.parquet")
    assert open_dataset(tmp_path, 28, announce=False).samples == {"train": 6, "val": 6, "test": 6}
    table(6, 40).to_parquet(tmp_path / "more.parquet")
    with pytest.raises(MedvitError, match=r"more\.parquet has no split"):
        open_dataset(tmp_path, 28, announce=False)


def test_of_several_columns_of_pictures_it_is_the_one_called_image(tmp_path):
    masks = datasets.Dataset.from_dict(
        {"mask": [png(i, "pathmnist") for i in range(12)]}, datasets.Features(mask=datasets.Image())
    )
    both = datasets.concatenate_datasets([masks, table(12)], axis=1)
    both.to_parquet(tmp_path / "cells.parquet")
    images = load_split(open_dataset(tmp_path / "cells.parquet", 28, announce=False), "train")[0]
    drawn = {synthetic.draw(("bloodmnist", "retinamnist")[i % 2], i).tobytes() for i in range(12)}
    assert {image.tobytes() for image in images} <= drawn
    both.rename_column("image", "picture").to_parquet(tmp_path / "other.parquet")
    with pytest.raises(MedvitError, match="several columns of pictures, mask, picture"):
        open_dataset(tmp_path / "other.parquet", 28, announce=False)


def test_numbers_are_groups_and_nothing_is_none(tmp_path):
    groups = [0] * 4 + [1] * 4 + [None] * 12
    table(20).add_column("group", groups).to_parquet(tmp_path / "cells.parquet")
    listed = [picture.group for picture in hub.list_pictures(str(tmp_path / "cells.parquet")).pictures]
    assert listed == ["0"] * 4 + ["1"] * 4 + [None] * 12


def test_a_saved_dataset_is_opened(tmp_path):
    splits = {split: table(4, 10 * i) for i, split in enumerate(("train", "validation", "test"))}
    datasets.DatasetDict(splits).save_to_disk(tmp_path / "saved")
    assert open_dataset(tmp_path / "saved", 28, announce=False).samples == {"train": 4, "val": 4, "test": 4}


def test_columns_without_pictures_or_labels_are_refused(tmp_path):
    datasets.Dataset.from_dict({"text": ["a"], "label": [1]}).to_parquet(tmp_path / "words.parquet")
    with pytest.raises(MedvitError, match="no column of pictures: its columns are text, label"):
        open_dataset(tmp_path / "words.parquet", 28, announce=False)


def test_a_damaged_parquet_file_is_one_sentence(tmp_path):
    (tmp_path / "x.parquet").write_bytes(b"PAR1 nothing")
    with pytest.raises(MedvitError, match="cannot be opened with the library datasets"):
        open_dataset(tmp_path / "x.parquet", 28, announce=False)


def test_a_hub_id_is_told_from_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own" / "scans").mkdir(parents=True)
    assert hub.opens("albertvillanova/medmnist-v2:bloodmnist")
    assert not hub.opens("own/scans")
    assert not hub.opens("scans")
    assert not hub.opens("../../etc/passwd")


def test_a_hub_id_is_opened_from_the_cache_without_a_network(tmp_path, monkeypatch):
    splits = {split: table(4, 10 * i) for i, split in enumerate(("train", "validation", "test"))}
    for name, split in splits.items():
        split.to_parquet(tmp_path / f"{name}.parquet")
    files = {name: str(tmp_path / f"{name}.parquet") for name in splits}
    opened = datasets.load_dataset("parquet", data_files=files, cache_dir=str(tmp_path / "parquet"))
    written = Path(opened["train"].cache_files[0]["filename"]).parent
    cached = shutil.copytree(written, tmp_path / "hf" / "someone___cells" / "small" / "0.0.0" / ("0" * 40))
    for file in cached.glob("parquet-*"):
        file.rename(cached / file.name.replace("parquet-", "cells-"))
    info = cached / "dataset_info.json"
    facts = json.loads(info.read_text()) | {"builder_name": "cells", "dataset_name": "cells"}
    info.write_text(json.dumps(facts | {"config_name": "small"}))
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path / "hf"))
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    dataset = open_dataset("someone/cells:small", 28, announce=False)
    assert (dataset.name, dataset.samples) == ("small", {"train": 4, "val": 4, "test": 4})
    with pytest.raises(MedvitError, match="There is no folder someone/other, and a dataset of the hub"):
        open_dataset("someone/other", 28, announce=False)
