"""Labelled pictures that the optional library `datasets` opens: a hub id, parquet files, an Arrow folder.

    albertvillanova/medmnist-v2:bloodmnist           a dataset of the Hugging Face hub, and its configuration
    scans.parquet, or a folder of parquet files      columns image and label
    a folder that Dataset.save_to_disk wrote

Pictures come as the bytes of their files and are decoded by `medvit.imaging`; no code of a dataset is run.
"""

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from medvit.data.listing import SPLIT_NAMES, Listing, Picture, escaped, make_listing
from medvit.errors import MedvitError, first_line
from medvit.slow_imports import datasets

HUB_ID = re.compile(r"[\w.-]+/[\w.-]+(:[\w.-]+)?", re.ASCII)


def opens(path: str | Path) -> bool:
    """Whether a path is for the library `datasets`: parquet, a saved dataset, or a hub id but no folder."""
    local = Path(path).expanduser()
    try:
        if local.is_dir():
            markers = ("dataset_info.json", "dataset_dict.json")
            return any((local / name).is_file() for name in markers) or any(local.glob("*.parquet"))
        return local.suffix == ".parquet" or (not local.exists() and bool(HUB_ID.fullmatch(str(path))))
    except (OSError, ValueError):
        return False


def list_pictures(path: str) -> Listing:
    """List the pictures of a dataset that the library `datasets` opens.

    Raises:
        MedvitError: the library is missing, it cannot open the dataset, or there is no column of pictures or
            none of labels.
    """
    if importlib.util.find_spec("datasets") is None:
        raise MedvitError(
            f"{escaped(path)} needs a library that is missing. Install it: pip install datasets"
        )
    try:
        splits = _open(path)
    except Exception as error:  # the library raises all kinds, for the network, the hub and the files
        raise MedvitError(
            f"{escaped(path)} cannot be opened with the library datasets: {first_line(error)[:200]}."
        ) from error
    pictures: list[Picture] = []
    for name, split in splits.items():
        pictures += _pictures(path, name, split, len(splits) > 1)
    return make_listing(Path(path.rsplit(":", 1)[-1]).name.removesuffix(".parquet"), pictures, [])


def _open(path: str) -> dict[str, Any]:
    """{name: split} of a dataset, its pictures not decoded."""
    local = Path(path).expanduser()
    if local.exists():
        if local.is_dir() and not any(local.glob("*.parquet")):
            opened = datasets.load_from_disk(str(local))
        else:
            opened = datasets.load_dataset("parquet", data_files=_parquet_files(local))
    else:
        name, _, config = path.partition(":")
        opened = datasets.load_dataset(name, config or None)
    splits = dict(opened) if isinstance(opened, dict) else {"train": opened}
    return {name: _undecoded(split) for name, split in splits.items()}


def _parquet_files(local: Path) -> dict[str, list[str]]:
    """Files by split, which the beginning of a file's name tells, as on the hub: ``train-00000.parquet``."""
    files = sorted(local.glob("*.parquet")) if local.is_dir() else [local]
    by_split: dict[str, list[str]] = {}
    for file in files:
        name = re.split(r"[-_.]", file.name)[0].lower()
        by_split.setdefault(name if name in SPLIT_NAMES else "train", []).append(str(file))
    return by_split


def _undecoded(split: Any) -> Any:
    for name, feature in split.features.items():
        if isinstance(feature, datasets.Image):
            split = split.cast_column(name, datasets.Image(decode=False))
    return split


def _pictures(path: str, split_name: str, split: Any, several: bool) -> list[Picture]:
    """The pictures of one split; a single split is divided later, like a folder without splits."""
    columns = split.features
    images = [name for name, feature in columns.items() if isinstance(feature, datasets.Image)]
    labels = [name for name in ("label", "labels", "fine_label") if name in columns]
    labels += [name for name, feature in columns.items() if isinstance(feature, datasets.ClassLabel)]
    if not images or not labels:
        raise MedvitError(
            f"{escaped(path)} has no column of {'labels' if images else 'pictures'}: its columns are "
            f"{escaped(', '.join(columns))}. They must be image and label."
        )
    known = SPLIT_NAMES.get(split_name.lower())
    if several and known is None:
        raise MedvitError(
            f"{escaped(path)} has a split {escaped(split_name)}; train, val and test are known."
        )
    feature = columns[labels[0]]
    names = feature.names if isinstance(feature, datasets.ClassLabel) else None
    values, groups = split[labels[0]], split["group"] if "group" in columns else [None] * len(split)
    pictures = []
    for i, (value, group) in enumerate(zip(values, groups, strict=True)):
        label = _label(path, value, names)
        name = f"{split_name} {i:07}"
        stamp = f"{split._fingerprint}-{i}"
        source = _reader(split, i, images[0])
        pictures.append(Picture(name, label, known if several else None, group and str(group), stamp, source))
    return pictures


def _label(path: str, value: Any, names: list[str] | None) -> str:
    if isinstance(value, list) and len(value) == 1:
        value = value[0]
    if names and type(value) is int and 0 <= value < len(names):
        return names[value]
    if names or not isinstance(value, int | str) or value == "":
        raise MedvitError(f"{escaped(path)} has a label {escaped(str(value))} that is not one class.")
    return str(value)


def _reader(split: Any, index: int, column: str) -> Callable[[], bytes | Path]:
    def read() -> bytes | Path:
        image = split[index][column]
        if image is None:
            raise MedvitError("There is no picture.")
        if image.get("bytes") is not None:
            return image["bytes"]
        return Path(image["path"])  # whose size is checked before it is read

    return read
