import numpy as np
import pytest
import torch
from PIL import Image

from medvit import checkpoint
from medvit.data import medmnist, settings
from medvit.errors import MedvitError
from medvit.evaluation import corruptions, robustness
from medvit.evaluation.inference import predict


@pytest.fixture(scope="module")
def tested(trained):
    return checkpoint.load(trained / "breastmnist" / "spt_lsa")


def test_every_corruption_is_measured_and_has_a_row(tested, synthetic_root):
    section = robustness.measure(tested, synthetic_root)
    assert set(section["errors"]) == set(settings.of("breastmnist").corruptions)
    assert all(0 <= error <= 1 for errors in section["errors"].values() for error in errors)
    images, labels = medmnist.load_split("breastmnist", "test", root=synthetic_root)
    logits = predict(tested.model, tested.preprocessing, images)[0]
    clean = section["clean"], section["error_rates"]["clean"]
    assert clean == pytest.approx(robustness.error_rates(logits, labels))
    rows = robustness.csv_rows(tested, section)
    assert set().union(*rows) == set(robustness.COLUMNS)
    assert [row["corruption"] for row in rows] == [robustness.MEAN, *section["errors"]]
    for key in ("balanced_error", "error_rate"):
        assert rows[0][key] == pytest.approx(np.mean([row[key] for row in rows[1:]]))
    assert section["n"] == 16


def test_grey_images_are_corrupted_in_colour_and_become_their_luminance():
    images = np.full((50, 28, 28), 128, np.uint8)
    torch.manual_seed(0)
    large = torch.full((50, 3, 224, 224), 128 / 255)
    noisy = corruptions.corrupt(large, "breastmnist", "speckle_noise", 5).permute(0, 2, 3, 1).numpy()
    torch.manual_seed(0)
    corrupted = robustness._corrupt(images, "breastmnist", "speckle_noise", 5)
    assert (corrupted[..., 0] == corrupted[..., 1]).all()
    pictures = [Image.fromarray((255 * picture).round().clip(0, 255).astype(np.uint8)) for picture in noisy]
    small = np.stack(
        [picture.convert("L").resize((28, 28), Image.Resampling.BICUBIC) for picture in pictures]
    )
    assert corrupted[..., 0].std() == pytest.approx(small.std(), rel=0.03)


def test_balanced_error_weights_classes_equally_and_the_error_rate_images():
    labels = np.array([0, 0, 0, 1])
    assert robustness.error_rates(np.eye(2)[[0, 0, 0, 0]], labels) == (0.5, 0.25)
    assert robustness.error_rates(np.eye(2)[[1, 1, 1, 1]], labels) == (0.5, 0.75)
    assert robustness.error_rates(np.eye(2)[labels], labels) == (0, 0)


def test_a_dataset_without_corruptions_is_refused(tested):
    other = checkpoint.Checkpoint(
        tested.folder, tested.card | {"subset": "chestmnist"}, tested.preprocessing, tested.test_logits,
        tested.test_labels,
    )  # fmt: skip
    with pytest.raises(MedvitError, match="no corruptions for chestmnist"):
        robustness.measure(other)


def test_jpeg_agreement_is_the_fraction_of_validation_images_with_the_same_class(
    tested, synthetic_root, monkeypatch
):
    images, _ = medmnist.load_split("breastmnist", "val", root=synthetic_root)
    qualities = []

    def black_from_the_third_on(image, quality):
        qualities.append(quality)
        return image if len(qualities) <= 2 else np.zeros_like(image)

    classes, black = (
        predict(tested.model, tested.preprocessing, pixels)[0].argmax(1)
        for pixels in (images, np.zeros_like(images))
    )
    monkeypatch.setattr(robustness, "jpeg_round_trip", black_from_the_third_on)
    expected = (2 + (classes == black)[2:].sum()) / len(images)
    assert robustness.jpeg_agreement(tested, synthetic_root) == pytest.approx(expected)
    assert qualities == [95] * len(images)
