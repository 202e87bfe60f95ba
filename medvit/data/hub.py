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

from medvit.data.listing import SPLIT_NAMES, Listing, Picture, make_listing
from medvit.errors import MedvitError, first_line
from medvit.slow_imports import datasets
from medvit.text import escaped

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
    name = escaped(path)
    if not Path(path).expanduser().exists():
        name = f"There is no folder {name}, and a dataset of the hub with this name"
    if importlib.util.find_spec("datasets") is None:
        raise MedvitError(f"{name} needs a library that is missing. Install it: pip install datasets")
    try:
        splits = _open(path)
    except MedvitError:
        raise
    except Exception as error:  # the library raises all kinds, for the network, the hub and the files
        raise MedvitError(
            f"{name} cannot be opened with the library datasets: {first_line(error)[:200]}."
        ) from error
    pictures: list[Picture] = []
    for split_name, split in splits.items():
        pictures += _pictures(path, split_name, split, len(splits) > 1)
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
    """Files by split, which a part of a file's name tells, as on the hub: ``train-00000.parquet``.

    Raises:
        MedvitError: some names tell a split and others do not, or one tells two.
    """
    files = sorted(local.glob("*.parquet")) if local.is_dir() else [local]
    by_split: dict[str, list[str]] = {}
    for file in files:
        named = {SPLIT_NAMES[part] for part in re.split(r"[-_.]", file.stem.lower()) if part in SPLIT_NAMES}
        if len(named) > 1:
            raise MedvitError(f"The name of the file {escaped(file.name)} has two splits.")
        by_split.setdefault(next(iter(named), ""), []).append(str(file))
    if "" in by_split and len(by_split) > 1:
        unnamed = Path(by_split[""][0]).name
        raise MedvitError(f"The name of the file {escaped(unnamed)} has no split; those of others have one.")
    return {name or "train": paths for name, paths in by_split.items()}


def _undecoded(split: Any) -> Any:
    for name, feature in split.features.items():
        if isinstance(feature, datasets.Image) or (name == "image" and _is_bytes_of_files(feature)):
            split = split.cast_column(name, datasets.Image(decode=False))
    return split


def _is_bytes_of_files(feature: Any) -> bool:
    """Whether a column has bytes, or structures with them, as other libraries write pictures to parquet."""
    if isinstance(feature, dict):
        feature = feature.get("bytes")
    return isinstance(feature, datasets.Value) and feature.dtype in ("binary", "large_binary")


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
    column = "image" if "image" in images else images[0]
    if len(images) > 1 and column != "image":
        raise MedvitError(
            f"{escaped(path)} has several columns of pictures, {escaped(', '.join(images))}: one must be "
            "image."
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
        source = _reader(split, i, column)
        group = None if group in (None, "") else str(group)  # 0 is a group too
        pictures.append(Picture(name, label, known if several else None, group, stamp, source))
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
