"""The one table of settings, and the synthetic examples that it names."""

import numpy as np
import pytest

from medvit.data import medmnist, settings, synthetic


def test_the_table_names_existing_subsets_and_other_datasets_get_the_defaults():
    assert set(medmnist.MAIN) <= set(settings.SETTINGS) <= set(medmnist.names())
    assert settings.of("octmnist") == settings.DatasetSettings()
    assert medmnist.get("octmnist").settings == settings.of("octmnist")


@pytest.mark.parametrize("name", medmnist.MAIN)
def test_every_shipped_dataset_has_five_severities_of_each_corruption_and_published_results(name):
    facts = settings.of(name)
    assert facts.corruptions
    assert all(len(parameters) == 5 for parameters in facts.corruptions.values())
    assert all(0.5 < result.accuracy < 1 for result in facts.published)


@pytest.mark.parametrize("name", medmnist.names())
def test_synthetic_examples_are_repeatable_and_differ(name):
    images = [synthetic.draw(name, number) for number in (0, 0, 1)]
    assert images[0].shape == (28, 28, 3)
    assert images[0].dtype == np.uint8
    np.testing.assert_array_equal(images[0], images[1])
    assert (images[0] != images[2]).any()


def test_a_synthetic_archive_has_the_requested_size(tmp_path):
    path = synthetic.write_archive("bloodmnist", tmp_path, {"train": 4, "val": 2, "test": 2}, size=224)
    assert path == medmnist.archive_path("bloodmnist", 224, tmp_path)
    images, labels = medmnist.load_split("bloodmnist", "train", 224, tmp_path)
    assert images.shape == (4, 224, 224, 3)
    assert labels.tolist() == [0, 1, 2, 3]
