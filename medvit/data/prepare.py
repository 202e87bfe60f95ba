"""Decode one's own pictures into the cache: resumable, with the disk space reserved before it begins.

While they are decoded, the arrays are in a folder of their own, whose state tells which pictures are done. It
is renamed when it is complete.
"""

import csv
import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from filelock import FileLock, Timeout
from tqdm import tqdm

from medvit import imaging
from medvit.data.cache import cache_root, folder_of, load_split
from medvit.data.dataset import SPLITS, Dataset, from_json, own_dataset, to_json
from medvit.data.listing import Listing, Picture
from medvit.data.splits import check_classes
from medvit.errors import MedvitError
from medvit.files import atomic_file
from medvit.text import few

WORKERS = max(1, os.cpu_count() or 1)
TODO, COLOUR, GREY, UNREADABLE = range(4)  # state of a picture
SPARE = 1.35  # disk space in units of the arrays: removing pictures or colour rewrites one split at a time
BLOCK = 256  # pictures that are rewritten at a time


@dataclass(frozen=True)
class Request:
    """What to prepare: pictures with their splits, at `size` pixels, under a name.

    `skip_unreadable`: leave pictures out that cannot be decoded, instead of refusing.
    `announce`: print which these are.
    """

    listing: Listing
    name: str
    pictures: list[Picture]
    size: int
    skip_unreadable: bool = False
    announce: bool = True

    @property
    def bytes(self) -> int:
        """Size of the arrays on disk, in colour."""
        return len(self.pictures) * self.size**2 * 3

    @property
    def key(self) -> str:
        """Identifies the request by names and times of the files, without reading them."""
        facts = [self.name, self.listing.title, self.size]
        rows = [(p.name, p.label, p.split, p.group, p.stamp) for p in self.pictures]
        text = json.dumps([facts, self.listing.classes, rows])
        return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:24]


def prepare(request: Request) -> Dataset:
    """Decode pictures into the cache, or find them there.

    Of several processes, one decodes, and shows what it writes and a progress bar; the others wait.

    Raises:
        MedvitError: pictures that cannot be decoded, or too little disk space. What was decoded stays for the
            next attempt with the same files; one with other files, of a dataset of this name, removes it.
    """
    root, key = cache_root(), request.key
    keys = root / "keys"
    try:
        keys.mkdir(parents=True, exist_ok=True)
        with FileLock(keys / f"{key}.lock"):
            for name in (key, f"{key}-partial")[: 1 + request.skip_unreadable]:
                if dataset := _find(request, keys / name):
                    return dataset
            part = root / f".{request.name}.{key}.part"
            _remove_stale(request, part)
            failures = _decode_all(request, part)
            _check_failures(request, failures)
            dataset = _finish(request, part)
            name = f"{key}-partial" if failures else key
            left_out = [request.pictures[i].name for i in sorted(failures)]
            with atomic_file(keys / name, "w") as file:
                json.dump(to_json(dataset) | {"left_out": left_out}, file)
            _announce(request, left_out)
            return dataset
    except OSError as error:
        raise MedvitError(
            f"The pictures of {request.listing.title} cannot be prepared in {root} "
            f"({error.strerror or error}). Choose another folder with $MEDVIT_CACHE."
        ) from error


def load_groups(dataset: Dataset, split: str) -> list[str]:
    """Return the group of each prepared picture of a split, in the order of its arrays; "" without one."""
    with (folder_of(dataset) / "pictures.csv").open(newline="", encoding="utf-8") as file:
        return [row["group"] for row in csv.DictReader(file) if row["split"] == split]


def _find(request: Request, path: Path) -> Dataset | None:
    """The prepared dataset of a key."""
    try:
        facts = json.loads(path.read_text())
        dataset = from_json(facts)
        for split in SPLITS:
            load_split(dataset, split)
    except (OSError, ValueError, MedvitError):
        return None
    left_out = facts.get("left_out", [])
    _update_names(request, dataset, set(left_out))
    _announce(request, left_out)
    return dataset


def _update_names(request: Request, dataset: Dataset, left_out: set[str]) -> None:
    """Write names and groups anew where a later request gave the same pixels and labels other ones."""
    path = folder_of(dataset) / "pictures.csv"
    names = _names(picture for picture in request.pictures if picture.name not in left_out)
    if not path.is_file() or path.read_bytes() != names:
        with atomic_file(path) as file:
            file.write(names)


def _announce(request: Request, left_out: list[str]) -> None:
    if request.announce and left_out:
        print(f"Left out {len(left_out):,} pictures that cannot be decoded: {few(left_out)}", flush=True)


def _remove_stale(request: Request, part: Path) -> None:
    """Delete what other attempts at a dataset of this name have left behind, unless one is going on."""
    for other in part.parent.glob(f".{request.name}.*.part"):
        key = other.name.split(".")[-2]
        with suppress(Timeout):
            if other != part:
                with FileLock(part.parent / "keys" / f"{key}.lock", timeout=0):
                    shutil.rmtree(other, ignore_errors=True)


def _decode_all(request: Request, part: Path) -> dict[int, str]:
    """Decode what is not done yet into the arrays of `part`; return why pictures could not be decoded."""
    state, hashes, images, rows = _open_arrays(request, part)
    todo = [int(i) for i in np.flatnonzero((state == TODO) | (state == UNREADABLE))]
    done, failures = len(state) - len(todo), {}
    title, pictures = request.listing.title, request.pictures
    bar = tqdm(total=len(state), initial=done, desc=title, unit="picture")
    with bar, ThreadPoolExecutor(WORKERS) as pool:
        futures = ((i, pool.submit(_decode, pictures[i], request.size)) for i in todo)
        for i, future in _in_order(futures):
            try:
                pixels = future.result()
            except MedvitError as error:
                failures[i], state[i] = str(error), UNREADABLE
            else:
                images[str(pictures[i].split)][rows[i]] = pixels
                hashes[i] = _pixel_hash(pixels)
                state[i] = GREY if _is_grey(pixels) else COLOUR
            bar.update()
    return failures


def _in_order(futures: Iterator[tuple[int, Future]]) -> Iterator[tuple[int, Future]]:
    """Yield futures, of which only a few are submitted ahead: decoded pictures take memory."""
    ahead = list(islice(futures, 4 * WORKERS))
    while ahead:
        yield ahead.pop(0)
        ahead += islice(futures, 1)


def _decode(picture: Picture, size: int) -> np.ndarray:
    """Pixels of a picture, uint8 (size, size, 3), as an upload of it is converted."""
    try:
        source = picture.source if isinstance(picture.source, Path) else picture.source()
    except OSError as error:
        raise MedvitError(f"The picture cannot be read ({error.strerror or error}).") from error
    return imaging.read_source(source, size)


def _is_grey(pixels: np.ndarray) -> bool:
    return bool((pixels[..., :1] == pixels[..., 1:]).all())


def _pixel_hash(pixels: np.ndarray) -> np.ndarray:
    return np.frombuffer(hashlib.sha256(pixels.tobytes()).digest(), np.uint8)


def _open_arrays(
    request: Request, part: Path
) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray], list[int]]:
    """State (N,) and hashes (N, 32) of the pictures, the arrays of the splits, and each picture's row."""
    pictures, size = request.pictures, request.size
    counts = dict.fromkeys(SPLITS, 0)
    rows = []
    for picture in pictures:
        rows.append(counts[str(picture.split)])
        counts[str(picture.split)] += 1
    shapes: dict[str, tuple[int, ...]] = {
        f"{split}_images": (count, size, size, 3) for split, count in counts.items()
    }
    shapes |= {"state": (len(pictures),), "hashes": (len(pictures), 32)}
    if all((part / f"{name}.npy").is_file() for name in shapes):
        arrays = {name: np.load(part / f"{name}.npy", mmap_mode="r+", allow_pickle=False) for name in shapes}
        if all(arrays[name].shape == shape for name, shape in shapes.items()):
            images = {split: arrays[f"{split}_images"] for split in SPLITS}
            for i in np.flatnonzero(arrays["state"]):  # after a crash of the machine, pixels may be lost
                pixels = images[str(pictures[i].split)][rows[i]]
                if arrays["state"][i] != UNREADABLE and (arrays["hashes"][i] != _pixel_hash(pixels)).any():
                    arrays["state"][i] = TODO
            return arrays["state"], arrays["hashes"], images, rows
    shutil.rmtree(part, ignore_errors=True)
    _check_disk(request)
    print(
        f"Preparing {request.listing.title}: {len(pictures):,} pictures, {_size(request.bytes)} at "
        f"{size} pixels, in {cache_root()}",
        flush=True,
    )
    part.mkdir()
    arrays = {name: _allocate(part / f"{name}.npy", shape) for name, shape in shapes.items()}
    return arrays["state"], arrays["hashes"], {split: arrays[f"{split}_images"] for split in SPLITS}, rows


def _allocate(path: Path, shape: tuple[int, ...]) -> np.ndarray:
    """A new memory map of zeros, whose disk space is reserved: a full disk would end the process later."""
    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
    if hasattr(os, "posix_fallocate"):
        with path.open("r+b") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array


def _check_disk(request: Request) -> None:
    free = shutil.disk_usage(cache_root()).free
    needed = int(SPARE * request.bytes)
    if needed > free:
        smaller = int(request.size * (free / needed) ** 0.5 * 0.9)
        raise MedvitError(
            f"{request.listing.title} needs {_size(needed)} at {request.size} pixels, and {cache_root()} has "
            f"{_size(free)} free. Choose fewer pixels, such as --size {max(16, smaller)}, or another disk "
            "with $MEDVIT_CACHE."
        )


def _size(count: int) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{max(count / 1e6, 0.1):.1f} MB"


def _check_failures(request: Request, failures: dict[int, str]) -> None:
    """Refuse pictures that cannot be decoded, unless they are to be left out and enough are left."""
    if not failures:
        return
    pictures, title = request.pictures, request.listing.title
    names = [f"{pictures[i].name} ({reason.rstrip('.')})" for i, reason in sorted(failures.items())]
    unreadable = f"{len(failures):,} of {len(pictures):,} pictures of {title} cannot be read: {few(names)}."
    if not request.skip_unreadable:
        raise MedvitError(f"{unreadable} Repair or remove them, or leave them out with --skip-unreadable.")
    try:
        check_classes(request.listing, [p for i, p in enumerate(pictures) if i not in failures], drawn=False)
    except MedvitError as error:
        raise MedvitError(
            f"{error} {unreadable} Where the splits are drawn, it may be enough to remove these files: the "
            "splits are then drawn from the others."
        ) from error


def _finish(request: Request, part: Path) -> Dataset:
    """Turn the arrays of `part` into a prepared dataset."""
    state, hashes = (np.load(part / f"{name}.npy", allow_pickle=False) for name in ("state", "hashes"))
    kept = state != UNREADABLE
    grey = bool((state[kept] == GREY).all())
    digest = hashlib.sha256(json.dumps([request.size, request.listing.classes]).encode())
    samples = {}
    for split in SPLITS:
        members = np.flatnonzero([picture.split == split for picture in request.pictures])
        chosen = members[kept[members]]
        _rewrite(part / f"{split}_images.npy", np.flatnonzero(kept[members]), grey)
        pictures = [request.pictures[i] for i in chosen]
        labels = np.array([request.listing.classes.index(p.label) for p in pictures], np.uint16)
        np.save(part / f"{split}_labels.npy", labels)
        np.save(part / f"{split}_sha256.npy", hashes[chosen])
        digest.update(labels.tobytes() + hashes[chosen].tobytes())
        samples[split] = len(pictures)
    dataset = own_dataset(
        request.name, request.listing.title, request.listing.classes, 1 if grey else 3, samples,
        digest.hexdigest(), request.size,
    )  # fmt: skip
    (part / "pictures.csv").write_bytes(_names(request.pictures[i] for i in np.flatnonzero(kept)))
    (part / "dataset.json").write_text(json.dumps(to_json(dataset), indent=1) + "\n")
    for name in ("state.npy", "hashes.npy"):
        (part / name).unlink()
    target = folder_of(dataset)
    if target.is_dir():  # the same pixels and labels under other file names, or an older, damaged copy
        shutil.rmtree(target)
    part.rename(target)
    return dataset


def _rewrite(path: Path, kept: np.ndarray, grey: bool) -> None:
    """Keep only some rows of an array of images, and one channel of grey images."""
    images = np.load(path, mmap_mode="r", allow_pickle=False)
    if len(kept) == len(images) and not grey:
        return
    shape = (len(kept), *images.shape[1:3]) if grey else (len(kept), *images.shape[1:])
    copy = _allocate(path.with_suffix(".new"), shape)
    for start in range(0, len(kept), BLOCK):
        block = images[kept[start : start + BLOCK]]
        copy[start : start + BLOCK] = block[..., 0] if grey else block
    del images, copy
    path.with_suffix(".new").replace(path)


def _names(pictures: Iterable[Picture]) -> bytes:
    """The content of pictures.csv: the name, label and group of each picture, by its place in its split."""
    pictures = list(pictures)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["split", "index", "file_name", "label", "group"])
    for split in SPLITS:
        members = (picture for picture in pictures if picture.split == split)
        writer.writerows([split, i, p.name, p.label, p.group or ""] for i, p in enumerate(members))
    return text.getvalue().encode(errors="backslashreplace")
