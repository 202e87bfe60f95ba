"""Features and logits of a forward pass, while other threads use the same model."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch

from medvit import models
from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.imaging import to_tensor
from medvit.models.features import forward_with_features, in_evaluation_mode, unwrap


@pytest.fixture
def pictures(synthetic_root):
    return medmnist.load_split("bloodmnist", "test", root=synthetic_root)[0]


def test_a_pass_that_another_thread_makes_within_is_not_taken_for_ones_own(pictures):
    model, preprocessing = models.build("cnn", medmnist.get("bloodmnist"))
    pixels = preprocessing(to_tensor(pictures[:2]))
    with torch.no_grad(), ThreadPoolExecutor(1) as pool:
        _, expected = forward_with_features(model.eval(), pixels)

        def interrupt(*_):
            handle.remove()
            pool.submit(model, pixels.flip(0)).result(30)

        handle = model.classifier.register_forward_hook(interrupt)
        _, features = forward_with_features(model, pixels)
    torch.testing.assert_close(features, expected)


def test_no_hook_is_left_behind():
    model, _ = models.build("cnn", medmnist.get("bloodmnist"))
    forward_with_features(model, torch.zeros(2, 3, 28, 28))
    with pytest.raises(RuntimeError):
        forward_with_features(model, torch.zeros(2, 5, 28, 28))
    assert not model.classifier._forward_pre_hooks


def test_a_model_without_a_classifier_has_no_features():
    class Answers(torch.nn.Module):
        def forward(self, pixel_values):
            return SimpleNamespace(logits=pixel_values.mean((2, 3)))

    logits, features = forward_with_features(Answers(), torch.rand(2, 3, 4, 4))
    assert logits.shape == (2, 3)
    assert features is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_a_model_of_another_precision_is_copied(dtype):
    model = torch.nn.Linear(2, 2).to(dtype).eval()
    copied = in_evaluation_mode(model)
    assert (model.weight.dtype, copied.weight.dtype) == (dtype, torch.float32)
    assert in_evaluation_mode(copied) is copied


def test_the_model_inside_compilation_and_data_parallelism_is_taken():
    model = torch.nn.Linear(2, 2)
    assert unwrap(model) is unwrap(torch.compile(model)) is unwrap(torch.nn.DataParallel(model)) is model


@pytest.mark.parametrize("wrong", [3, None, len, torch.jit.script(torch.nn.Linear(2, 2))])
def test_what_is_no_model_is_refused(wrong):
    with pytest.raises(MedvitError, match=r"or a torch\.nn\.Module, not"):
        unwrap(wrong)


def test_nested_wrappers_are_all_removed():
    model = torch.nn.Linear(2, 2)
    for wrapped in (torch.nn.DataParallel(torch.compile(model)), torch.compile(torch.nn.DataParallel(model))):
        assert unwrap(wrapped) is model


def test_a_model_with_a_part_in_training_mode_is_copied():
    model = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Dropout()).eval()
    model[1].train()
    copied = in_evaluation_mode(model)
    assert (model[1].training, copied[1].training) == (True, False)


def test_a_classifier_of_more_rows_than_images_or_with_named_inputs_gives_no_features():
    class Instances(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.classifier = torch.nn.Linear(4, 2)

        def forward(self, images):
            rows = images.mean(1).flatten(0, 1)  # (4 B, 4)
            return self.classifier(rows).view(len(images), 4, 2).mean(1)

    class Named(Instances):
        def forward(self, images):
            return self.classifier(input=images.mean((1, 2)))

    for model in (Instances(), Named()):
        logits, features = forward_with_features(model, torch.rand(2, 3, 4, 4))
        assert (logits.shape, features) == ((2, 2), None)
