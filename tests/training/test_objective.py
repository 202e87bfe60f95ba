from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from medvit import models
from medvit.data import medmnist
from medvit.training.augment import NO_AUGMENTATION
from medvit.training.objective import (
    TrainingModule,
    class_targets,
    class_weights,
    divergence,
    training_targets,
)

from .conftest import TINY, tiny_recipe

BLOOD = medmnist.get("bloodmnist")


def tiny_model(name: str):
    return models.build(name, BLOOD, **TINY[name])


def test_divergence_is_the_mean_of_both_kullback_leibler_divergences():
    torch.manual_seed(0)
    logits, other_logits = torch.randn(2, 5, 4)
    p, q = logits.softmax(1), other_logits.softmax(1)
    both = (p * (p / q).log()).sum(1) + (q * (q / p).log()).sum(1)
    torch.testing.assert_close(divergence(logits, other_logits), both.mean() / 2)
    assert divergence(logits, logits, multi_label=True) == 0
    sigmoid = divergence(logits[:, :1], other_logits[:, :1], multi_label=True)
    softmax = divergence(*(F.pad(x[:, :1], (0, 1)) for x in (logits, other_logits)))
    torch.testing.assert_close(sigmoid, softmax)  # a sigmoid is a softmax against zero


def test_targets_of_grades_decrease_with_distance():
    rows = class_targets(3, 0.3, 0)
    torch.testing.assert_close(rows, torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]]))
    row = class_targets(5, 0.0, 0.7)[1]
    assert row.argmax() == 1
    assert row[0] == row[2] > row[3] > row[4]


def test_soft_labels_have_the_fraction_of_the_recipe():
    recipe = replace(tiny_recipe("bloodmnist", "vit"), label_smoothing=0.0, distill=0.75)
    soft = np.full((2, 8), 1 / 8)
    targets = training_targets(np.array([0, 3]), 8, recipe, soft)
    torch.testing.assert_close(targets.sum(1), torch.ones(2))
    assert targets[1, 3].item() == pytest.approx(0.25 + 0.75 / 8)
    multi_label = np.eye(8, dtype=np.int64)[:2]
    torch.testing.assert_close(
        training_targets(multi_label, 8, recipe), torch.tensor(multi_label, dtype=torch.float32)
    )


def test_class_weights_balance_the_classes():
    labels = np.repeat([0, 1], [900, 100])
    torch.testing.assert_close(class_weights(labels, 2, 1.0), torch.tensor([0.5556, 5.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(class_weights(labels, 2, 0.0), torch.ones(2))


def test_the_teachers_predictions_replace_the_labels():
    torch.manual_seed(0)
    (teacher, preparation), (student, preprocessing) = tiny_model("cnn"), tiny_model("vit")
    teacher.eval()
    recipe = tiny_recipe("bloodmnist", "vit", distill=1.0, augmentation=NO_AUGMENTATION)
    module = TrainingModule(student, preprocessing, recipe, teachers=[(teacher, preparation)]).eval()
    pixels = torch.randint(0, 256, (8, 3, 28, 28), dtype=torch.uint8)
    with torch.no_grad():
        probs = teacher(pixel_values=preparation(pixels)).logits.softmax(1)
        log_probs = student.eval()(pixel_values=preprocessing(pixels)).logits.log_softmax(1)
        loss = module(pixels, torch.eye(8))
    torch.testing.assert_close(loss, -(probs * log_probs).sum(1).mean(), atol=2e-2, rtol=2e-2)
    assert {id(p) for p in module.parameters()} == {id(p) for p in student.parameters()}


def test_the_consistency_loss_is_of_a_quarter_of_the_images_and_zero_where_jpeg_changes_nothing():
    torch.manual_seed(0)
    model, preprocessing = tiny_model("vit")
    recipe = tiny_recipe("bloodmnist", "vit", augmentation=NO_AUGMENTATION, config={"drop_path": 0})
    plain, consistent = (
        TrainingModule(model, preprocessing, replace(recipe, consistency_weight=weight)).eval()
        for weight in (0.0, 1e6)
    )
    flat = torch.full((8, 3, 28, 28), 128, dtype=torch.uint8)
    noisy = torch.randint(0, 256, (8, 3, 28, 28), dtype=torch.uint8)
    for pixels, expected in (
        (flat, 0),
        (torch.cat([flat[:2], noisy[2:]]), 0),
        (torch.cat([noisy[:2], flat[2:]]), 2.34),
        (noisy, 2.34),
    ):
        penalty = consistent(pixels, torch.eye(8)) - plain(pixels, torch.eye(8))
        assert penalty.item() == pytest.approx(expected, abs=0.5)
