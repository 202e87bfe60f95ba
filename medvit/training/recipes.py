"""The hyper-parameters of each (subset, model), as data, in two efforts.

"cpu": about two hours on two cores for all twenty runs; they made the first checkpoints, whose figures are in
results/metrics.csv. "gpu": long schedules with the mixing and averaging that pay only there, for the campaign
in CONTRIBUTING.md.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from medvit.data import settings
from medvit.errors import MedvitError
from medvit.training.augment import Augmentation


@dataclass(frozen=True)
class Recipe:
    """How to train one model on one subset.

    `learning_rate` is the peak of a cosine schedule after a linear warm-up over `warmup` of all steps.
    `image_size`: the model's input side where it is not the architecture's default.
    `strategy`: what of a pretrained model is trained, see `medvit.models.finetune.apply_strategy`.
    `train_images`: a random part of the training split with its class shares, or None for all of it.
    `ema`: decay of an average of the weights, which is then judged and kept in place of the weights; 0: none.
    `mixup`, `cutmix`: shares of the images so mixed, see `medvit.training.augment.mix`.
    `layer_decay`: learning rate of a block, as a factor of that of the block after it.
    `balance`: images weigh as the frequency of their class to minus this power; 1 makes classes weigh alike.
    `ordinal`: width in grades of the answer expected where classes are ordered; 0: only the one is right.
    `stability`: weight of the distance between the answers to an image and to the same as JPEG; where it is
    positive, a step costs twice as much.
    `blend`: share of the weights it started from (`--start`) in what is kept at the end, after training that
    made it more robust but less accurate (WiSE-FT: Wortsman et al., CVPR 2022).
    `distill`: where there are teachers (`--teachers`), the share of their mean answer in what is taught, the
    rest being the label's (knowledge distillation: Hinton et al., arXiv 1503.02531).
    `config`: fields of the architecture's configuration, such as ``{"drop_path": 0.2}``.
    """

    epochs: int
    batch_size: int = 64
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.1
    label_smoothing: float = 0.1
    image_size: int | None = None
    strategy: str = "full"
    train_images: int | None = None
    ema: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    layer_decay: float = 1.0
    balance: float = 0.0
    ordinal: float = 0.0
    stability: float = 0.0
    blend: float = 0.0
    distill: float = 0.7
    config: dict[str, Any] = field(default_factory=dict)
    augmentation: Augmentation = field(default_factory=Augmentation)


EFFORTS = ("cpu", "gpu")


def recipe(subset: str, model: str, size: int = 28, strategy: str = "full", effort: str = "cpu") -> Recipe:
    """The recipe for a subset, a model and a source size; a general one for subsets without their own.

    Where the source is larger than 28 pixels, models from scratch take it as it is, a pretrained one 224.
    """
    facts = settings.of(subset)
    small = facts.small
    shared: dict[str, Any] = dict(
        strategy=strategy,
        # Of the CNN's answers to validation images, JPEG left 92 % alone, and with two more epochs under
        # this penalty 97 %. It costs epochs: the same four end at 85 instead of 87 % accuracy. The fine-tuned
        # ViT keeps 98 % without it, and no more with it (one epoch of 8,000 images at 20).
        stability=10.0 if subset == "pathmnist" and model != "vit_finetuned" else 0.0,
        image_size=(112 if size == 28 else 224) if model == "vit_finetuned" else size,
        augmentation=Augmentation(**facts.augmentation),
    )
    few = strategy in ("linear", "lora", "rlrr")  # few parameters bear, and need, larger steps
    epochs = facts.epochs[effort][model]
    if effort == "cpu":  # a transformer from scratch stalls on the small subsets at 1e-3
        rates = {"cnn": 1e-3, "vit_finetuned": 2e-4}
        return Recipe(
            epochs=epochs,
            batch_size=32 if small else 64,
            learning_rate=2e-3 if few else rates.get(model, 4e-4 if small else 1e-3),
            # Some 20 minutes of one core instead of hours. Where time is no matter, all 89,996 pay: the
            # fine-tuned ViT ends at 98 instead of 95 % on validation after two passes.
            train_images=facts.train_images,
            # Of a fine-tuned ViT on RetinaMNIST: 63 against 59 % on validation, of 120 images.
            ema=0.99 if (subset, model) == ("retinamnist", "vit_finetuned") else 0.0,
            # So few epochs leave nothing to stochastic depth: the SPT-LSA of BreastMNIST ends at 86.9 without
            # it and at 85.6 % on validation with the architecture's 0.1 (five seeds each).
            config={"drop_path": 0.0} if small and model in ("vit", "spt_lsa") else {},
            **shared,
        )
    shared |= dict(epochs=epochs, ordinal=0.5 if facts.ordered else 0.0)
    if model == "vit_finetuned":
        return Recipe(
            batch_size=64 if small else 256,
            learning_rate=2e-3 if few else 5e-4,
            layer_decay=1.0 if few else 0.75,
            ema=0.99 if small else 0.998,
            cutmix=0.0 if small else 0.3,
            **shared,
        )
    return Recipe(
        batch_size=64 if small else 512 if subset == "pathmnist" else 256,
        learning_rate=5e-4 if small else 1e-3,
        ema=0.99 if small else 0.998,
        mixup=0.2,
        cutmix=0.3,
        **shared,
    )


def change(recipe: Recipe, settings: Iterable[str]) -> Recipe:
    """The recipe with other fields, given as FIELD=VALUE.

    A field that is not the recipe's may be its augmentation's, else it goes to `config`; values are JSON:
    ``0.2``, ``false``.

    Raises:
        MedvitError: not of that form, or not a number where one is needed.
    """
    fields: dict[str, Any] = {}
    augmentation: dict[str, Any] = {}
    config = dict(recipe.config)
    for setting in settings:
        name, _, text = setting.partition("=")
        try:
            value = json.loads(text)
        except ValueError as error:
            raise MedvitError(f"{setting!r} is not FIELD=VALUE with a number, true or false.") from error
        of_images = hasattr(recipe.augmentation, name)
        if not of_images and not hasattr(recipe, name):
            config[name] = value
            continue
        now = getattr(recipe.augmentation if of_images else recipe, name)
        kinds = (bool,) if isinstance(now, bool) else (int, float)
        if type(now) not in kinds or type(value) not in kinds:
            raise MedvitError(f"{setting!r} does not fit: {name} is {now!r} in this recipe.")
        (augmentation if of_images else fields)[name] = value
    changed = replace(recipe.augmentation, **augmentation)
    return replace(recipe, config=config, augmentation=changed, **fields)
