from dataclasses import asdict, replace

import pytest

from medvit import models
from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.training.augment import Augmentation
from medvit.training.recipes import change, check, recipe

FROM_SCRATCH = ("cnn", "vit", "spt_lsa")


@pytest.mark.parametrize("subset", medmnist.names())
def test_every_model_has_a_valid_recipe_and_a_quicker_one(subset):
    for model in models.NAMES:
        full, quick = (recipe(subset, model, preset=preset) for preset in ("full", "quick"))
        check(full)
        check(quick)
        assert 1 <= quick.epochs < full.epochs
        assert full.train_images is None
        assert full.image_size == quick.image_size


@pytest.mark.parametrize("subset", medmnist.names())
def test_models_from_scratch_differ_in_the_learning_rate_alone(subset):
    recipes = [replace(recipe(subset, model), learning_rate=1.0) for model in FROM_SCRATCH]
    assert recipes[1] == recipes[2]
    assert recipes[0] == replace(recipes[1], patch_dropout=0.0)


@pytest.mark.parametrize("subset", ["bloodmnist", "pathmnist", "retinamnist"])
def test_colour_images_are_trained_with_jpeg_and_noise(subset):
    augmentation = recipe(subset, "vit").augmentation
    assert augmentation.jpeg > 0
    assert augmentation.noise > 0


def test_strategies_with_few_parameters_have_one_larger_learning_rate():
    full, linear = (recipe("bloodmnist", "vit_finetuned", strategy=name) for name in ("full", "linear"))
    assert linear.learning_rate > full.learning_rate
    assert linear.layer_decay == 1.0


def test_values_change_the_recipe_its_augmentation_or_the_architecture():
    changed = change(recipe("bloodmnist", "spt_lsa"), ["ema=0.99", "lsa=false", "drop_path=0.2", "mixup=0"])
    assert changed.ema == 0.99
    assert changed.mixup == 0
    assert changed.config == {"lsa": False, "drop_path": 0.2}
    brighter = change(changed, ["brightness=0.4", "flip_y=false"])
    assert (brighter.augmentation.brightness, brighter.augmentation.flip_y) == (0.4, False)
    assert brighter.augmentation.contrast == changed.augmentation.contrast
    assert brighter.config == changed.config
    turned = change(brighter, ["degrees=7.5", "noise=2.5"])  # whole numbers in this recipe
    assert (turned.augmentation.degrees, turned.augmentation.noise) == (7.5, 2.5)


@pytest.mark.parametrize(
    ("assignment", "message"),
    [
        ("ema", "FIELD=VALUE"),
        ("epochs=many", "FIELD=VALUE"),
        ("strategy=1", "does not fit"),
        ("flip_x=1", "does not fit"),
        ("epochs=1.5", "does not fit"),
        ("ema=true", "does not fit"),
    ],
)
def test_a_value_of_another_type_is_refused(assignment, message):
    with pytest.raises(MedvitError, match=message):
        change(recipe("bloodmnist", "vit"), [assignment])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"epochs": 0}, "epochs must be above zero"),
        ({"learning_rate": -1.0}, "learning_rate must be above zero"),
        ({"patch_dropout": 1.0}, "patch_dropout must be from 0 to below 1"),
        ({"distill": 1.5}, "distill must be from 0 to 1"),
        ({"mixup": 0.6, "cutmix": 0.6}, "together"),
        ({"distill_folds": 1}, "at least 2"),
        ({"layer_decay": -1.0}, "layer_decay must be above 0 and at most 1"),
        ({"weight_decay": -1.0}, "weight_decay must be zero or above"),
        ({"class_weight_power": float("nan")}, "class_weight_power must be zero or above"),
        ({"augmentation": Augmentation(scale=-0.1)}, "scale must be from 0 to 1"),
        ({"augmentation": Augmentation(blur=float("inf"))}, "blur must be zero or above"),
    ],
)
def test_a_field_out_of_its_range_is_refused(fields, message):
    with pytest.raises(MedvitError, match=message):
        check(replace(recipe("bloodmnist", "vit"), **fields))


def test_every_field_is_plain_data():
    fields = asdict(recipe("retinamnist", "vit_finetuned"))
    assert all(isinstance(value, bool | int | float | str | dict | None) for value in fields.values())
