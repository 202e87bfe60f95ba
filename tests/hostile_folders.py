"""Damages of a checkpoint folder, made to crash, mislead or exhaust a program that opens it."""

import io
import json
import os
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file

from medvit import checkpoint, files
from medvit.imaging import Preprocessing
from medvit.models import architectures
from medvit.models.configs import VitConfig

SIZE = 28


def write_small_folder(folder: Path, trained: Path) -> None:
    """Write a valid checkpoint of a few kilobytes, with the card and the test results of a trained one."""
    torch.manual_seed(0)
    labels = {0: "malignant", 1: "normal, benign"}
    config = VitConfig(
        image_size=SIZE, patch_size=14, hidden_size=8, num_hidden_layers=2, num_attention_heads=2,
        id2label=labels, label2id={name: i for i, name in labels.items()},
        problem_type="single_label_classification",
    )  # fmt: skip
    model = architectures()["vit"](config)
    source = checkpoint.load(trained)
    folder.mkdir(parents=True)
    checkpoint.write_model(folder, model, Preprocessing(SIZE))
    checkpoint.write_test(folder, source.test_logits, source.test_labels)
    card = source.card | {"model": "vit", "parameters": model.num_parameters()}
    checkpoint.write_card(folder, card)
    bind(folder)
    sha256 = files.sha256(folder / checkpoint.WEIGHTS)
    assert source.trust is not None
    checkpoint.write_trust(folder, source.trust | {"sha256": sha256})


def bind(folder: Path) -> None:
    """Bind the weights and config.json to the card as their author would: hostile folders are consistent."""
    hashes = {
        key: files.sha256(folder / name)
        for key, name in (("sha256", checkpoint.WEIGHTS), ("config_sha256", "config.json"))
    }
    change_json(folder / "card.json", **hashes)


def change_json(path: Path, **fields: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def card(**fields: Any) -> Callable[[Path], None]:
    return lambda folder: change_json(folder / "card.json", **fields)


def metric(**fields: Any) -> Callable[[Path], None]:
    """A damage of the section "test" of the card."""

    def damage(folder: Path) -> None:
        path = folder / "card.json"
        change_json(path, test=json.loads(path.read_text())["test"] | fields)

    return damage


def config(**fields: Any) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        change_json(folder / "config.json", **fields)
        bind(folder)

    return damage


def preprocessor(**fields: Any) -> Callable[[Path], None]:
    return lambda folder: change_json(folder / "preprocessor_config.json", **fields)


def text(name: str, content: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_text(content) and None


def arrays(name: str = "test.npz", **changed: Any) -> Callable[[Path], None]:
    """A damage of an npz file: other arrays, or None for an array that is left out."""

    def damage(folder: Path) -> None:
        with np.load(folder / name) as archive:
            content = dict(archive) | changed
        np.savez(folder / name, **{key: array for key, array in content.items() if array is not None})

    return damage


def members(name: str, content: bytes, member: str = "logits.npy", declared: int | None = None):
    """A damage of an npz file: one deflated member, whose size in the list of members may be a lie."""

    def damage(folder: Path) -> None:
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            archive.writestr(member, content)
        data = bytearray(buffer.getvalue())
        if declared is not None:
            entry = data.rindex(b"PK\1\2")
            data[entry + 24 : entry + 28] = struct.pack("<I", declared)
        (folder / name).write_bytes(data)

    return damage


def npy(shape: str, dtype: str = "<f2", data: bytes = b"") -> bytes:
    """A .npy file whose header says anything."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + struct.pack("<H", len(header)) + header + data


def many_members(folder: Path) -> None:
    """A zip file that lists 200,000 members and has none."""
    entry = b"PK\1\2" + bytes(42)
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, 200_000 * 46, 0, 0)
    (folder / "test.npz").write_bytes(entry * 200_000 + end)


def weights(change: Callable[[dict[str, Any]], Any], length: int | None = None, cut: int = 0):
    """A damage of the safetensors file: another header, another length of the header, or a cut end."""

    def damage(folder: Path) -> None:
        path = folder / checkpoint.WEIGHTS
        content = path.read_bytes()
        (size,) = struct.unpack("<Q", content[:8])
        header = json.loads(content[8 : 8 + size])
        changed = change(header)
        encoded = json.dumps(header if changed is None else changed).encode()
        data = content[8 + size : len(content) - cut]
        path.write_bytes(struct.pack("<Q", len(encoded) if length is None else length) + encoded + data)
        bind(folder)

    return damage


def first_tensor(**fields: Any) -> Callable[[dict[str, Any]], None]:
    return lambda header: header[min(header.keys() - {"__metadata__"})].update(fields)


def tensors(value: float) -> Callable[[Path], None]:
    """A damage of the values of all weights."""

    def damage(folder: Path) -> None:
        model = checkpoint.load_model(folder)
        state = {name: torch.full_like(tensor, value) for name, tensor in model.state_dict().items()}
        save_file(state, folder / checkpoint.WEIGHTS, metadata={"format": "pt"})
        bind(folder)

    return damage


def replaced_by(make: Callable[[Path], object], name: str = "card.json") -> Callable[[Path], None]:
    """A damage: something else than a file under the name of a file."""

    def damage(folder: Path) -> None:
        (folder / name).unlink()
        make(folder / name)

    return damage


def nested(levels: int) -> Any:
    value: Any = 0
    for _ in range(levels):
        value = [value]
    return value


NAN, INFINITY = float("nan"), float("inf")
SETS = {"default_level": 0.9, "fitted_on": 9, "levels": {}}
IMAGE = np.zeros((4, 2), np.float16)

# What makes a folder unusable -> a word of the sentence that says so.
DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "card of 3 MB": (card(note="x" * 3_000_000), "larger than 2 MB"),
    "card of 100,000 open brackets": (text("card.json", "[" * 100_000), "nested too deeply"),
    "card nested 60 levels deep": (card(note=nested(60)), "nested more than 32"),
    "cut card": (text("card.json", '{"subset": "breast'), "not JSON"),
    "card that is a list": (text("card.json", "[]"), "not a JSON object"),
    "card that is a folder": (replaced_by(Path.mkdir), "card.json missing"),
    "card that is a pipe": (replaced_by(os.mkfifo), "card.json missing"),
    "card that links to itself": (replaced_by(lambda p: p.symlink_to(p.name)), "card.json missing"),
    "card that links to a device": (replaced_by(lambda p: p.symlink_to("/dev/zero")), "card.json missing"),
    "no metrics": (card(test={}), "'test.n'"),
    "no recipe": (card(recipe={}), "'recipe.epochs'"),
    "no classes in the metrics": (metric(per_class={}), "'test.per_class'"),
    "infinitely many images": (metric(n=INFINITY), "'test.n'"),
    "accuracy above 1": (metric(accuracy=2.0), "'test.accuracy'"),
    "half an interval": (metric(accuracy_interval=[0.5]), "'test.accuracy_interval'"),
    "infinitely many parameters": (card(parameters=INFINITY), "'parameters'"),
    "fewer parameters than there are": (card(parameters=10), "not 10 as in card.json"),
    "source images of 10^9 pixels a side": (card(source_size=10**9), "'source_size'"),
    "seconds of 400 digits": (card(seconds=10**400), "'seconds'"),
    "model name with a tag": (card(model="<img src=x>"), "'model'"),
    "hardware that is no Unicode": (card(hardware="\ud800"), "'hardware'"),
    "hardware of 100 kB": (card(hardware="x" * 100_000), "'hardware'"),
    "null as a section": (card(trust=None), "'trust'"),
    "prediction sets without a level": (card(trust={"prediction_sets": SETS}), "default level"),
    "history without epochs": (card(history=[{}]), "'history.0.epoch'"),
    "unknown subset": (card(subset="nomnist"), "nomnist"),
    "subset that is a list": (card(subset=[]), "'subset'"),
    "sha256 with a path": (card(sha256="../../x"), "'sha256'"),
    "npz that declares 4 TiB": (members("test.npz", npy("(2199023255552,)")), "size of an array"),
    "npz that declares 10^30 values": (members("test.npz", npy(f"({10**30},)")), "size of an array"),
    "npz with a negative shape": (members("test.npz", npy("(-4, 2)")), "with the shape"),
    "npz of text of no length": (members("test.npz", npy(f"({10**18},)", "<U0")), "with the shape"),
    "npz with a broken header": (members("test.npz", npy("(((((")), "damaged"),
    "npz bomb": (members("test.npz", bytes(10**8)), "larger than 64 MB"),
    "npz bomb of a false size": (members("test.npz", npy("(50,)", data=bytes(10**8)), declared=228), "CRC"),
    "npz of 200,000 members": (many_members, "not a plain npz"),
    "npz of another compression": (text("test.npz", "PK"), "not a plain npz"),
    "npz with a pickle": (arrays(logits=np.array([{}], object)), "array of object"),
    "npz without logits": (arrays(logits=None), "lacks logits"),
    "npz with another array": (arrays(other=np.zeros(3)), "'other'"),
    "npz without images": (arrays(logits=IMAGE[:0], labels=np.zeros(0, np.uint8)), "does not fit"),
    "one logit": (arrays(logits=np.float16(0)), "does not fit"),
    "logits that are not a number": (arrays(logits=IMAGE + NAN, labels=np.zeros(4, np.uint8)), "not finite"),
    "labels that are no integers": (arrays(logits=IMAGE, labels=np.full(4, NAN)), "not finite numbers"),
    "labels that are no classes": (arrays(logits=IMAGE, labels=np.full(4, 7)), "not classes"),
    "infinite embedding": (arrays(tsne=np.full((4, 2), INFINITY)), "t-SNE"),
    "10^9 layers": (config(num_hidden_layers=10**9), "num_hidden_layers"),
    "a number of layers of 400 digits": (config(num_hidden_layers=10**400), "num_hidden_layers"),
    "10^9 labels": (config(num_labels=10**9), "num_labels"),
    "infinite hidden size": (config(hidden_size=INFINITY), "hidden_size"),
    "absurd image size": (config(image_size=300_000), "different image sizes"),
    "image size that is a list": (config(image_size=[28, 28]), "different image sizes"),
    "attention of 10^10 values": (config(patch_size=1, num_hidden_layers=10_000), "attention"),
    "heads below zero": (config(num_attention_heads=-2), "num_attention_heads"),
    "no patches": (config(patch_size=0), "patch_size"),
    "swapped classes": (config(id2label={"0": "normal, benign", "1": "malignant"}), "classes"),
    "classes that are a list": (config(id2label=[]), "classes"),
    "unknown architecture": (config(model_type="gpt2"), "architectures"),
    "config that is a list": (text("config.json", "[]"), "not a JSON object"),
    "config of another run": (text("config.json", '{"drop_path": 0.2}'), "sha256 differs"),
    "adapter of another model": (text("adapter_config.json", "{}"), "adapter"),
    "std of 1e-300": (preprocessor(image_std=[1e-300] * 3), "out of range"),
    "std of zero": (preprocessor(image_std=[0.5, 0, 0.5]), "out of range"),
    "std that is not a number": (preprocessor(image_std=[0.5, NAN, 0.5]), "out of range"),
    "mean of 400 digits": (preprocessor(image_mean=[0, 10**400, 0]), "not usable"),
    "infinite input": (preprocessor(size=INFINITY), "whole number"),
    "input of 10^6 pixels a side": (preprocessor(size={"height": 10**6}), "whole number"),
    "preprocessing that is a list": (text("preprocessor_config.json", "[]"), "not a JSON object"),
    "weights with a header of 2^60 bytes": (weights(lambda header: None, length=2**60), "safetensors"),
    "weights without content": (text(checkpoint.WEIGHTS, ""), "safetensors"),
    "weights with a list as header": (weights(lambda header: []), "not a JSON object"),
    "cut weights": (weights(lambda header: None, cut=100), "declares"),
    "tensor of 10^18 values": (weights(first_tensor(shape=[10**9, 10**9])), "data_offsets"),
    "tensor of a negative shape": (weights(first_tensor(shape=[-1, -8])), "a shape"),
    "tensor outside the file": (weights(first_tensor(data_offsets=[10**12, 10**12 + 2])), "data_offsets"),
    "tensor of an unknown type": (weights(first_tensor(dtype="F4")), "F4"),
    "tensor without a shape": (weights(first_tensor(shape=None)), "header"),
    "tensors that are numbers": (weights(lambda header: {"a": 1}), "header"),
}  # fmt: skip

# What makes trust.npz unusable; the model itself can be used without it.
TRUST_DAMAGES: dict[str, Callable[[Path], object]] = {
    "temperature that is not a number": arrays("trust.npz", temperature=np.full((2, 2), NAN, np.float32)),
    "temperature of another shape": arrays("trust.npz", temperature=np.float32(1)),
    "temperature of text": arrays("trust.npz", temperature=np.full((2, 2), "a")),
    "no temperature": arrays("trust.npz", temperature=None),
    "huge temperature": arrays("trust.npz", temperature=np.full((2, 2), 1e30)),
    "no scores": arrays("trust.npz", nonconformity_scores=np.zeros(0, np.float32)),
    "scores of another shape": arrays("trust.npz", nonconformity_scores=np.zeros((3, 3), np.float32)),
    "scores left out": arrays("trust.npz", nonconformity_scores_tta=None),
    "three thresholds": arrays("trust.npz", thresholds=np.zeros(3)),
    "infinite OOD threshold": arrays("trust.npz", ood_threshold=np.float32(INFINITY)),
    "OOD features of different lengths": arrays("trust.npz", ood_whitening=np.eye(3, dtype=np.float32)),
    "OOD means that are not a number": arrays("trust.npz", ood_means=np.full((2, 128), NAN, np.float32)),
    "pickle": arrays("trust.npz", temperature=np.array([{}], object)),
    "unknown array": arrays("trust.npz", other=np.zeros(3)),
    "4 TiB": members("trust.npz", npy("(2199023255552,)"), "temperature.npy"),
    "bomb": members("trust.npz", bytes(10**8), "temperature.npy"),
    "no zip file": text("trust.npz", "x" * 100),
    "other weights": arrays("trust.npz", sha256=np.array("0" * 64)),
}

# What is found out when the model is loaded or first used -> a word of the sentence.
MODEL_DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "200,000 layers": (config(num_hidden_layers=200_000), "larger model"),
    "hidden size of 300,000": (config(hidden_size=300_000), "larger model"),
    "another hidden size": (config(hidden_size=16), "cannot be loaded"),
    "a layer more": (config(num_hidden_layers=3), "do not fit"),
    "heads that do not divide": (config(num_attention_heads=3), "not a multiple"),
    "quarter of a patch": (config(patch_size=7), "cannot be loaded"),
    "weights that are not a number": (tensors(NAN), "not finite"),
    "infinite weights": (tensors(INFINITY), "not finite"),
    "weights that overflow": (tensors(1e37), "finite number for each"),
    "activations of another type": (config(mlp_ratio="x"), "cannot be loaded"),
}  # fmt: skip
