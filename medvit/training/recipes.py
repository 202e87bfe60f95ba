"""Training recipes: the hyper-parameters of each (dataset, model), as data.

`recipe` reads the table in `medvit.data.settings`, where all models from scratch of a dataset share one
recipe and may differ in the learning rate alone. `change` replaces fields. `train_command` writes a recipe as
the command line that trains with it.
"""

import json
import math
import shlex
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from medvit.data import medmnist, settings
from medvit.data.folder import SOURCE_SIZE
from medvit.errors import MedvitError
from medvit.models import DEFAULT_BACKBONE
from medvit.training.augment import Augmentation

PRESETS = ("full", "quick")
QUICK_IMAGES = 5000
FEW_PARAMETERS = ("linear", "lora", "rlrr")  # strategies that train few parameters, which need larger steps
AMOUNTS = ("weight_decay", "class_weight_power", "ordinal_sigma", "consistency_weight")
FRACTIONS = ("mixup", "cutmix", "distill", "wise_ft_alpha", "scale", "jpeg", "random_erasing")
FRACTIONS_BELOW_ONE = ("ema", "label_smoothing", "warmup", "patch_dropout")
FLAGS = (
    "epochs",
    "batch_size",
    "learning_rate",
    "image_size",
    "train_images",
)  # with flags of `medvit train`


@dataclass(frozen=True)
class Recipe:
    """How to train one model on one dataset.

    `learning_rate`: the peak, after a linear warm-up over the fraction `warmup` of the steps; then a cosine
    schedule.
    `image_size`: the model's input side in pixels; None: the architecture's default.
    `strategy`: which parameters of a pretrained model are trained, see `medvit.models.finetune`.
    `train_images`: the size of a stratified random sample of the training split; None: all of it.
    `ema`: decay of the exponential moving average of the weights, which is validated and kept in place of the
    weights; 0: none.
    `mixup`, `cutmix`: fractions of the images to mix, see `medvit.training.augment.mix`.
    `layer_decay`: the learning rate of a block divided by that of the next block.
    `class_weight_power`: class weight = frequency ** -class_weight_power; 1 weights all classes equally.
    `ordinal_sigma`: standard deviation, in grades, of the Gaussian target of ordered classes; 0: one-hot.
    `consistency_weight`: weight of the divergence between the predictions for an image and for its JPEG copy,
    of a quarter of the images of each batch; where it is positive, a step costs up to a quarter more.
    `patch_dropout`: the fraction of the patches that a transformer leaves out of each training image
    (PatchDropout: Liu et al., WACV 2023); halving the patches nearly halves the time of a step.
    `wise_ft_alpha`: the kept weights are wise_ft_alpha * trained + (1 - wise_ft_alpha) * initial, with the
    initial weights of `--initial-checkpoint` (WiSE-FT: Wortsman et al., CVPR 2022).
    `distill`: the fraction of the teachers' mean prediction in the targets, where there are teachers
    (knowledge distillation: Hinton et al., arXiv 1503.02531).
    `distill_folds`: cross-fitted self-distillation: so many models, each trained without one fold of the
    training images, give the teacher's predictions for that fold; 0: none.
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
    class_weight_power: float = 0.0
    ordinal_sigma: float = 0.0
    consistency_weight: float = 0.0
    patch_dropout: float = 0.0
    wise_ft_alpha: float = 1.0
    distill: float = 0.7
    distill_folds: int = 0
    config: dict[str, Any] = field(default_factory=dict)
    augmentation: Augmentation = field(default_factory=Augmentation)


def recipe(subset: str, model: str, size: int = 28, strategy: str = "full", preset: str = "full") -> Recipe:
    """Return the recipe of a dataset, a model and a source size in pixels.

    The input size of a model from scratch is the source size; that of a pretrained one is 112 pixels for
    sources of 28, else 224.

    Args:
        preset: "full"; or "quick", for a first look in minutes: a tenth of the epochs on at most 5,000
            images, without weight averaging and mixing, which need many steps.
    """
    table = settings.of(subset)
    augmentation = Augmentation(**table.augmentation)
    if model == "vit_finetuned":
        image_size = 112 if size == 28 else 224
        result = Recipe(
            image_size=image_size, strategy=strategy, augmentation=augmentation, **table.fine_tuning
        )
        if strategy in FEW_PARAMETERS:
            result = replace(result, learning_rate=2e-3, layer_decay=1.0)
    else:
        rate = table.learning_rates[model]
        result = Recipe(image_size=size, learning_rate=rate, augmentation=augmentation, **table.from_scratch)
        if model == "cnn":
            result = replace(result, patch_dropout=0.0)  # a CNN has no patches to drop
    if preset == "quick":
        epochs = max(1, result.epochs // 10)
        return replace(result, epochs=epochs, train_images=QUICK_IMAGES, ema=0.0, mixup=0.0, cutmix=0.0)
    return result


def check(recipe: Recipe) -> None:
    """Raise a MedvitError where a field, of the augmentation too, is out of its range."""
    values, augmentation = asdict(recipe), asdict(recipe.augmentation)
    amounts = {*AMOUNTS, *augmentation} - {*FRACTIONS}
    ranges: tuple[tuple[Iterable[str], str, Callable[[float], bool]], ...] = (  # NaN is in none of them
        (FLAGS, "above zero", lambda value: 0 < value < math.inf),
        (("layer_decay",), "above 0 and at most 1", lambda value: 0 < value <= 1),
        (FRACTIONS_BELOW_ONE, "from 0 to below 1", lambda value: 0 <= value < 1),
        (FRACTIONS, "from 0 to 1", lambda value: 0 <= value <= 1),
        (sorted(amounts), "zero or above", lambda value: 0 <= value < math.inf),
    )
    for names, text, fits in ranges:
        for name in names:
            value = (values | augmentation)[name]
            if value is not None and not fits(value):
                raise MedvitError(f"{name} must be {text}, not {value}.")
    if recipe.mixup + recipe.cutmix > 1:
        raise MedvitError("mixup and cutmix together must be at most 1.")
    if recipe.distill_folds < 0 or recipe.distill_folds == 1:
        raise MedvitError(f"distill_folds must be 0 or at least 2, not {recipe.distill_folds}.")


def change(recipe: Recipe, assignments: Iterable[str]) -> Recipe:
    """Return the recipe with other values, given as FIELD=VALUE.

    A field that the recipe does not have is looked up in its augmentation; an unknown one goes to `config`.
    Values are JSON: ``0.2``, ``false``.

    Raises:
        MedvitError: not of that form, or a value of another type than the field's.
    """
    fields: dict[str, Any] = {}
    augmentation: dict[str, Any] = {}
    config = dict(recipe.config)
    for assignment in assignments:
        name, _, text = assignment.partition("=")
        try:
            value = json.loads(text)
        except ValueError as error:
            raise MedvitError(f"{assignment!r} is not FIELD=VALUE with a number, true or false.") from error
        if hasattr(recipe.augmentation, name):
            augmentation[name] = _checked(assignment, value, getattr(Augmentation(), name))
        elif hasattr(recipe, name):
            fields[name] = _checked(assignment, value, getattr(recipe, name))
        else:
            config[name] = value
    changed = replace(recipe.augmentation, **augmentation)
    return replace(recipe, config=config, augmentation=changed, **fields)


def _checked(assignment: str, value: Any, current: Any) -> Any:
    """Return a value of the same type as the current one; an integer may stand for a float."""
    if isinstance(current, float) and type(value) is int:
        value = float(value)
    if not isinstance(current, bool | int | float) or type(value) is not type(current):
        name = assignment.partition("=")[0]
        raise MedvitError(f"{assignment!r} does not fit: {name} is {current!r} in this recipe.")
    return value


def train_command(
    subset: str,
    model: str,
    target: Recipe,
    seed: int,
    size: int = 28,
    backbone: str = DEFAULT_BACKBONE,
    data_options: Sequence[str] = (),
) -> str:
    """Return the `medvit train` command line of a recipe; it names what differs from the default recipe.

    Args:
        data_options: name one's own pictures; without them, `subset` stands for the folder.
    """
    is_medmnist = subset in medmnist.names()
    source = ["--subset", subset] if is_medmnist else data_options or ["--data", subset]
    words = ["medvit", "train", *source, "--model", model, "--seed", str(seed)]
    if size != (28 if is_medmnist else SOURCE_SIZE):
        words += ["--size", str(size)]
    if target.strategy != "full":
        words += ["--strategy", target.strategy]
    if model == "vit_finetuned" and backbone != DEFAULT_BACKBONE:
        words += ["--backbone", backbone]
    fields, defaults = asdict(target), asdict(recipe(subset, model, size, target.strategy))
    for table in (fields, defaults):  # one flat table: `change` tells the names apart
        table |= table.pop("augmentation") | table.pop("config")
    changed = {name: value for name, value in fields.items() if value != defaults.get(name)}
    for name in FLAGS:
        if name in changed:
            words += [f"--{name.replace('_', '-')}", str(changed.pop(name))]
    if changed:
        words += ["--set", *(f"{name}={json.dumps(value)}" for name, value in changed.items())]
    return shlex.join(words)
