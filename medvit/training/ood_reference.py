"""Train the OOD reference model: one small CNN on all shipped datasets and on synthetic outliers.

It classifies for nobody. It learns what kinds of images there are, and so can tell that one is of no kind: a
model trained on a single dataset has no reason to keep the features that would show it. Its classes are those
of all datasets, and OTHER for synthetic outliers: drawings, and images of the datasets in colours that
these do not have (outlier exposure: Hendrycks et al., 2019). No picture from outside is used.
"""

import json
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from medvit import checkpoint, files
from medvit.data import as_rgb, medmnist, settings
from medvit.evaluation.inference import predict
from medvit.imaging.jpeg import simulate_jpeg
from medvit.imaging.preprocess import Preprocessing, to_tensor
from medvit.models.resnet import CnnConfig, CnnForImageClassification
from medvit.reliability import synthetic_outliers
from medvit.training.augment import NO_AUGMENTATION, Augmentation
from medvit.training.dataset import DeviceDataset
from medvit.training.objective import TrainingModule, class_targets
from medvit.training.recipes import Recipe
from medvit.training.train import training_environment
from medvit.training.trainer import Validation, fit, training_arguments
from medvit.training.work import already_exists, prepared_work, work_folder

OTHER = "none of these"
EACH = 20  # images of each dataset in a batch; twice as many synthetic outliers
POOL = 12_000  # images of a dataset at most: PathMNIST has many more than are needed
JPEG_FRACTION = 0.3
VALIDATION_IMAGES = 2000  # of each dataset at most


@dataclass(frozen=True)
class Pool:
    """Images of one kind: uint8 (N, 3, s, s), their classes (N,), and how many are drawn for each batch."""

    pixels: Tensor
    labels: Tensor
    augmentation: Augmentation
    count: int

    def draw(self, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
        """Return augmented images (count, 3, s, s) in 0..255, some of them as JPEG, and their classes."""
        chosen = torch.from_numpy(rng.integers(0, len(self.labels), self.count)).to(self.labels.device)
        pixels = self.pixels[chosen].float()
        compressed = torch.rand(self.count, 1, 1, 1, device=pixels.device) < JPEG_FRACTION
        quality = int(rng.integers(60, 98))
        pixels = torch.where(compressed, simulate_jpeg(pixels, quality), pixels)
        return self.augmentation(pixels), self.labels[chosen]


class PoolLoader:
    """Batches with a fixed number of images from each pool; `steps` of them are an epoch."""

    def __init__(self, pools: Sequence[Pool], classes: int, steps: int, seed: int):
        self.pools, self.steps, self.seed = pools, steps, seed
        self.targets = class_targets(classes, smoothing=0, ordinal_sigma=0).to(pools[0].labels.device)
        self.epoch = 0

    def __len__(self) -> int:
        return self.steps

    def set_epoch(self, epoch: int) -> None:
        """Choose the random numbers of the next pass."""
        self.epoch = epoch

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        rng = np.random.default_rng([self.seed, self.epoch])
        for _ in range(self.steps):
            pixels, labels = zip(*(pool.draw(rng) for pool in self.pools), strict=True)
            yield {"pixels": torch.cat(pixels), "targets": self.targets[torch.cat(labels)]}


def train_ood_reference(
    out: Path,
    epochs: int = 7,
    seed: int = 0,
    data_root: str | Path | None = None,
    *,
    names: Sequence[str] = medmnist.MAIN,
    steps: int = 500,
    width: int = 16,
    resume: bool = False,
) -> Path:
    """Train the OOD reference model and write its folder: less than an hour on one core.

    Args:
        out: the folder to write.
        names: the datasets.
        steps: batches of an epoch.
        width: of the CNN's first stage.
        resume: go on from the state that a killed run left.

    Raises:
        MedvitError: data absent, or `out` exists.
    """
    out = Path(out).resolve()
    if out.exists():
        raise already_exists(out)
    transformers.set_seed(seed)
    classes = [f"{name}: {label}" for name in names for label in medmnist.get(name).classes] + [OTHER]
    config = CnnConfig(
        width=width,
        depths=(1, 1, 1, 1),
        id2label=dict(enumerate(classes)),
        label2id={label: i for i, label in enumerate(classes)},
    )
    model, preprocessing = CnnForImageClassification(config), Preprocessing(28)
    recipe = Recipe(
        epochs=epochs,
        batch_size=EACH * (len(names) + 2),
        learning_rate=3e-3,
        label_smoothing=0.0,
        image_size=28,
        augmentation=NO_AUGMENTATION,  # each pool has its own
    )
    work = work_folder(out)
    args = training_arguments(recipe, work, seed)
    pools = _training_pools(names, classes, data_root, seed, args.device)
    held_out = _validation(names, classes, data_root, args.device)
    description = {"subsets": list(names), "steps": steps, "seed": seed, "recipe": asdict(recipe)}
    with prepared_work(work, args, json.loads(json.dumps(description)), resume):
        module = TrainingModule(model, preprocessing, recipe).to(args.device)
        result = fit(module, PoolLoader(pools, len(classes), steps, seed), held_out, args)
    model.load_state_dict(result.weights)
    card = description | training_environment(args, result) | {"seconds": round(result.seconds, 1)}
    with files.atomic_folder(out) as folder:
        checkpoint.write_model(folder, model.eval(), preprocessing)
        card["validation"] = _recognised(folder, preprocessing, names, data_root)
        card["sha256"] = files.sha256(folder / checkpoint.WEIGHTS)
        checkpoint.write_card(folder, card)
    shutil.rmtree(work)
    return out


def _training_pools(
    names: Sequence[str], classes: list[str], data_root: str | Path | None, seed: int, device: torch.device
) -> list[Pool]:
    """One pool for each dataset, and two of class OTHER: drawings, and recoloured images of the datasets."""
    rng = np.random.default_rng(seed)
    pools, some_of_each = [], []
    for name in names:
        images, labels = medmnist.load_split(name, "train", root=data_root)
        chosen = rng.permutation(len(labels))[:POOL]
        rgb = as_rgb(images[chosen])
        first = classes.index(f"{name}: {medmnist.get(name).classes[0]}")
        augmentation = Augmentation(**settings.of(name).augmentation)
        pools.append(_pool(rgb, labels[chosen] + first, augmentation, EACH, device))
        some_of_each.append(rgb[:1500])
    other = Augmentation(**settings.GREY)
    drawings = synthetic_outliers.draw(21_000, seed=1)
    recoloured = synthetic_outliers.recolour(np.concatenate(some_of_each), seed=1)
    for images, count in ((drawings, 3 * EACH // 2), (recoloured, EACH // 2)):
        pools.append(_pool(images, np.full(len(images), len(classes) - 1), other, count, device))
    return pools


def _pool(
    images: np.ndarray, labels: np.ndarray, augmentation: Augmentation, count: int, device: torch.device
) -> Pool:
    return Pool(to_tensor(images).to(device), torch.from_numpy(labels).to(device), augmentation, count)


def _validation(
    names: Sequence[str], classes: list[str], data_root: str | Path | None, device: torch.device
) -> Validation:
    """Validation images of every dataset, and drawings that training does not see."""
    images = [synthetic_outliers.draw(VALIDATION_IMAGES // 2, seed=3)]
    labels = [np.full(len(images[0]), len(classes) - 1)]
    for name in names:
        own, own_labels = medmnist.load_split(name, "val", root=data_root)
        images.append(as_rgb(own[:VALIDATION_IMAGES]))
        first = classes.index(f"{name}: {medmnist.get(name).classes[0]}")
        labels.append(own_labels[:VALIDATION_IMAGES] + first)
    dataset = DeviceDataset(np.concatenate(images), device)
    return Validation(dataset, np.concatenate(labels), "multi-class")


def _recognised(
    folder: Path, preprocessing: Preprocessing, names: Sequence[str], data_root: str | Path | None
) -> dict[str, float]:
    """The fraction of each dataset's validation images that the stored model assigns to that dataset."""
    model: Any = checkpoint.load_model(folder)
    fractions = {}
    for name in names:
        images, _ = medmnist.load_split(name, "val", root=data_root)
        predicted = predict(model, preprocessing, images[:VALIDATION_IMAGES])[0].argmax(1)
        own = [model.config.id2label[int(i)].startswith(f"{name}:") for i in predicted]
        fractions[name] = float(np.mean(own))
    return fractions
