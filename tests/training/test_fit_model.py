import json

import pytest
import torch

from medvit import checkpoint
from medvit.errors import MedvitError


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
