"""The shared model: one small CNN trained on all five subsets and on pictures of nothing.

It does not classify for anybody. It knows what kinds of images there are, and so can tell when one belongs to
none: a model trained on a single subset has no reason to keep the features that would show it.
Its classes are those of all five subsets, and one for everything else, taught with abstract drawings and with
images of the subsets in colours they do not have (outlier exposure: Hendrycks et al., 2019). No picture
from outside is used.
"""

import json
import platform
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from medvit import checkpoint, files
from medvit.data import as_rgb, medmnist, settings
from medvit.data.settings import GREY
from medvit.errors import MedvitError
from medvit.evaluation.inference import predict
from medvit.imaging.jpeg import jpeg_round_trip
from medvit.imaging.preprocess import Preprocessing, to_tensor
from medvit.models.resnet import CnnConfig, CnnForImageClassification
from medvit.reliability import outliers
from medvit.training.augment import Augmentation

OTHER = "none of these"
EACH = 20  # images of each subset in a batch; twice as many of nothing
POOL = 12_000  # images of a subset at most: PathMNIST has many more than are needed


def train_ood_reference(
    out: Path, steps: int = 3500, seed: int = 0, data_root: str | Path | None = None, names=medmnist.MAIN
) -> Path:
    """Train the shared model and write its folder: about 15 minutes on one core.

    Args:
        out: the folder to write.

    Raises:
        MedvitError: data absent, or `out` taken.
    """
    out = Path(out).resolve()
    if out.exists():
        raise MedvitError(
            f"{out} exists already and is not overwritten. Choose another --out, or move it away."
        )
    transformers.set_seed(seed)
    rng = np.random.default_rng(seed)
    labels_of = [f"{name}: {label}" for name in names for label in medmnist.get(name).classes] + [OTHER]
    pools = _pools(names, labels_of, data_root, rng)
    config = CnnConfig(
        width=16, depths=(1, 1, 1, 1), id2label=dict(enumerate(labels_of)),
        label2id={label: i for i, label in enumerate(labels_of)},
    )  # fmt: skip
    model, preprocessing = CnnForImageClassification(config), Preprocessing(28)
    model.train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, steps, pct_start=0.1)
    started = time.monotonic()
    for step in range(steps):
        pixels, labels = _batch(pools, rng)
        logits = model(pixel_values=preprocessing(pixels)).logits
        loss = F.cross_entropy(logits, labels)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        schedule.step()
        if step % 100 == 0:
            print(
                f"step {step}/{steps}, loss {loss.item():.3f}, {time.monotonic() - started:.0f} s", flush=True
            )
    card = {
        "subsets": list(names),
        "steps": steps,
        "batch_size": EACH * (len(names) + 2),
        "seed": seed,
        "seconds": round(time.monotonic() - started, 1),
        "threads": torch.get_num_threads(),
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
    }
    with files.atomic_folder(out) as folder:
        checkpoint.write_model(folder, model.eval(), preprocessing)
        card["validation"] = _validation(checkpoint.load_model(folder), preprocessing, names, data_root)
        card["sha256"] = files.sha256(folder / checkpoint.WEIGHTS)
        (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
    return out


def _pools(names, labels_of, data_root, rng) -> list[tuple]:
    """(pixels, the same as JPEG, labels, augmentation, images a batch) of each subset, and of nothing."""
    pools, everything = [], []
    for name in names:
        images, labels = medmnist.load_split(name, "train", root=data_root)
        chosen = rng.permutation(len(labels))[:POOL]
        colour = as_rgb(images[chosen])
        first = labels_of.index(f"{name}: {medmnist.get(name).classes[0]}")
        augmentation = Augmentation(**settings.of(name).augmentation)
        pools.append((to_tensor(colour), _as_jpeg(colour, rng), torch.from_numpy(labels[chosen]) + first,
                      augmentation, EACH))  # fmt: skip
        everything.append(colour[:1500])
    drawn = outliers.synthetic_outliers(21_000, seed=1)
    wrong_colours = outliers.recolour(np.concatenate(everything), seed=1)
    for images, count in ((drawn, 3 * EACH // 2), (wrong_colours, EACH // 2)):
        nothing = torch.full((len(images),), len(labels_of) - 1)
        pools.append((to_tensor(images), _as_jpeg(images, rng), nothing, Augmentation(**GREY), count))
    return pools


def _as_jpeg(images: np.ndarray, rng: np.random.Generator) -> Tensor:
    """The images as JPEG of a random quality gives them back, (N, 3, s, s)."""
    return to_tensor(np.stack([jpeg_round_trip(image, int(rng.integers(60, 98))) for image in images]))


def _batch(pools: list[tuple], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    pixels, labels = [], []
    for clean, jpeg, truth, augmentation, count in pools:
        chosen = torch.from_numpy(rng.integers(0, len(truth), count))
        either = torch.rand(count, 1, 1, 1) < 0.3
        pixels.append(augmentation(torch.where(either, jpeg[chosen], clean[chosen])))
        labels.append(truth[chosen])
    return torch.cat(pixels), torch.cat(labels)


def _validation(model, preprocessing, names, data_root) -> dict[str, float]:
    """Share of each subset's validation images that the model takes for that subset, whatever the class."""
    result = {}
    for name in names:
        images, _ = medmnist.load_split(name, "val", root=data_root)
        said = predict(model, preprocessing, images[:2000])[0].argmax(1)
        result[name] = float(np.mean([model.config.id2label[int(i)].startswith(f"{name}:") for i in said]))
    return result
