import numpy as np
import pytest

from medvit.data import medmnist
from medvit.reliability import outliers, synthetic_outliers


def test_synthetic_outliers_are_repeatable_and_vary():
    first, again, other = (synthetic_outliers.draw(21, seed) for seed in (3, 3, 4))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any(axis=(1, 2, 3)).all()
    assert first.shape == (21, 28, 28, 3)
    assert first.dtype == np.uint8


def test_recoloured_images_change():
    images = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 3), dtype=np.uint8)
    assert (synthetic_outliers.recolour(images, 0) != images).any(axis=(1, 2, 3)).all()


@pytest.mark.parametrize("kind", outliers.KINDS)
def test_pictures_of_a_kind_are_converted_like_uploads(kind):
    colour, grey = outliers.draw(kind, 6, False), outliers.draw(kind, 6, True)
    assert colour.shape == grey.shape == (6, 28, 28, 3)
    assert np.ptp(grey, axis=-1).max() == 0
    assert len({picture.tobytes() for picture in colour}) == 6


@pytest.mark.parametrize(
    ("name", "kinds"),
    [
        ("bloodmnist", {"synthetic examples", "another stain"}),
        ("retinamnist", {"synthetic examples", "another fundus camera"}),
        ("breastmnist", {"synthetic examples"}),
    ],
)
def test_near_ood_pictures_suit_the_dataset(name, kinds):
    pictures = outliers.near_ood(name, grey=name == "breastmnist")
    assert set(pictures) == kinds
    assert all(images.shape[1:] == (28, 28, 3) for images in pictures.values())


def test_validation_outliers_come_from_the_other_datasets_on_disk_and_from_drawings(synthetic_root):
    kinds = outliers.validation_outliers(medmnist.get("breastmnist"), data_root=synthetic_root)
    others = set(medmnist.MAIN) - {"breastmnist"}
    assert set(kinds) == others | {"drawings", "synthetic examples", "blends"}
    assert all(np.ptp(images, axis=-1).max() == 0 for images in kinds.values())  # a grey dataset
