import json

import numpy as np
import pytest
import torch

from medvit import checkpoint
from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.evaluation.inference import predict
from medvit.evaluation.metrics import summary
from medvit.training.fit_model import TrainingSetup, build, fit_model

from .conftest import tiny_recipe


def state(folder):
    return checkpoint.load(folder).model.state_dict()


def test_training_starts_from_an_initial_checkpoint_and_the_card_says_so(quick_train):
    first = quick_train("bloodmnist", "cnn", "first")
    options = dict(initial_checkpoint=first, learning_rate=1e-12, epochs=1)
    same_classes = checkpoint.load(quick_train("bloodmnist", "cnn", "same", **options))
    other_classes = checkpoint.load(quick_train("retinamnist", "cnn", "other", **options))
    initial = state(first)
    for name, tensor in same_classes.model.state_dict().items():
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(tensor, initial[name])
    stem = "stem.0.weight"
    torch.testing.assert_close(other_classes.model.state_dict()[stem], initial[stem])
    assert other_classes.model.classifier.out_features == 5
    assert other_classes.card["start"]["sha256"] == checkpoint.load(first).card["sha256"]
    assert "2 epochs on BloodMNIST" in other_classes.origin
    assert "command" not in other_classes.card  # no single command makes it from nothing
    with pytest.raises(MedvitError, match="holds a cnn"):
        quick_train("bloodmnist", "vit", "vit", initial_checkpoint=first)
    with pytest.raises(MedvitError, match="other shapes"):
        quick_train("bloodmnist", "cnn", "wider", initial_checkpoint=first, config={"width": 8})


def test_a_fine_tuned_checkpoint_passes_its_backbone_on(quick_train):
    tuned = quick_train("breastmnist", "vit_finetuned", "tuned", epochs=1)
    card = json.loads((tuned / "card.json").read_text())
    (tuned / "card.json").write_text(json.dumps(card | {"backbone": "someone/vit"}))
    options = dict(initial_checkpoint=tuned, backbone="absent", epochs=1)
    further = quick_train("breastmnist", "vit_finetuned", "further", **options)
    assert checkpoint.load(further).card["backbone"] == "someone/vit"


def test_wise_ft_interpolates_between_initial_and_trained_weights(quick_train):
    first = quick_train("bloodmnist", "cnn", "first")
    trained = quick_train("bloodmnist", "cnn", "trained", initial_checkpoint=first)
    mixed = quick_train("bloodmnist", "cnn", "mixed", initial_checkpoint=first, wise_ft_alpha=0.4)
    before, after = state(first), state(trained)
    largest_change = 0.0
    for name, tensor in state(mixed).items():
        if tensor.is_floating_point():
            expected = 0.6 * before[name] + 0.4 * after[name]
            torch.testing.assert_close(tensor, expected, atol=2e-3, rtol=2e-3)
            largest_change = max(largest_change, float((after[name] - before[name]).abs().max()))
    assert largest_change > 0.02


def test_wise_ft_interpolates_the_weights_that_lora_gives(quick_train):
    first = quick_train("bloodmnist", "vit_finetuned", "first")
    options = dict(strategy="lora", initial_checkpoint=first, learning_rate=0.05)
    trained = quick_train("bloodmnist", "vit_finetuned", "trained", **options)
    mixed = quick_train("bloodmnist", "vit_finetuned", "mixed", wise_ft_alpha=0.4, **options)
    before, after = state(first), state(trained)
    for name, tensor in state(mixed).items():
        torch.testing.assert_close(tensor, 0.6 * before[name] + 0.4 * after[name], atol=2e-3, rtol=2e-3)
    name = "vit.layers.0.attention.q_proj.weight"
    assert (after[name] - before[name]).abs().max() > 0.02


def test_a_student_learns_from_teachers_and_its_card_lists_them(quick_train):
    teacher = quick_train("bloodmnist", "cnn", "teacher", epochs=1)
    student = checkpoint.load(
        quick_train("bloodmnist", "vit", "student", teachers=[teacher, teacher], epochs=1)
    )
    sha256 = checkpoint.load(teacher).card["sha256"]
    assert [entry["sha256"] for entry in student.card["teachers"]] == [sha256] * 2
    assert "2 other models" in student.origin
    assert "command" not in student.card
    with pytest.raises(MedvitError, match="trained on BloodMNIST"):
        quick_train("retinamnist", "cnn", "other", teachers=[teacher])


@pytest.fixture
def split(synthetic_root):
    return medmnist.load_split("breastmnist", "train", root=synthetic_root)


@pytest.mark.parametrize("ema", [0.0, 0.5])
def test_the_epoch_with_the_lowest_validation_loss_is_kept(ema, split, tmp_path):
    images, labels = split
    wrong = images, 1 - labels  # the better the training, the worse this validation
    recipe = tiny_recipe("breastmnist", "cnn", epochs=5, warmup=0.0, learning_rate=1e-2, ema=ema)
    setup = TrainingSetup(medmnist.get("breastmnist"), "cnn", recipe)
    fitted = fit_model(setup, build(setup), split, wrong, tmp_path)
    losses = [row["val_loss"] for row in fitted.result.history]
    assert min(losses) < losses[-1]
    logits, _ = predict(fitted.model, fitted.preprocessing, images)
    assert summary(logits, wrong[1], "binary-class")["loss"] == pytest.approx(min(losses), rel=0.02)


def test_without_validation_the_last_epoch_is_kept(split, tmp_path):
    recipe = tiny_recipe("breastmnist", "cnn", epochs=5, learning_rate=1e-2, label_smoothing=0.0)
    setup = TrainingSetup(medmnist.get("breastmnist"), "cnn", recipe)
    before = build(setup).model.state_dict()
    fitted = fit_model(setup, build(setup), split, None, tmp_path)
    assert all("val_loss" not in row for row in fitted.result.history)
    logits, _ = predict(fitted.model, fitted.preprocessing, split[0])
    assert np.mean(logits.argmax(1) == split[1]) > 0.8
    assert not torch.equal(fitted.model.state_dict()["stem.0.weight"], before["stem.0.weight"])
