"""Models of other programs, with what the app asks of a checkpoint."""

import shutil

import numpy as np
import pytest
from PIL import Image

from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.explain import Explainer
from medvit.inference import external, service
from medvit.inference.external import GROUP
from medvit.inference.registry import Registry
from medvit.reliability import tta
from tests.conftest import standardise_each_picture

NAMES = ("vit", "resnet", "timm", "imagenet", "blood")


@pytest.fixture(scope="module")
def picture(tmp_path_factory):
    path = tmp_path_factory.mktemp("picture") / "scan.png"
    Image.fromarray(synthetic.draw("bloodmnist", 1)).resize((90, 70)).save(path)
    return path


@pytest.fixture(scope="module")
def registry(own_models):
    return Registry.open(models=[str(own_models / name) for name in NAMES])


@pytest.mark.parametrize("name", NAMES)
def test_the_app_predicts_what_the_model_predicts(registry, own_models, picture, name):
    predictor = registry.predictor(GROUP, name)
    prediction = predictor.predict(predictor.source(picture))
    expected = Explainer(own_models / name)(picture).probabilities.numpy()
    np.testing.assert_allclose(prediction.probabilities, expected, atol=1e-5)
    assert prediction.display_probs is prediction.probabilities
    assert prediction.source.shape[:2] == predictor.explainer.preparation.input_size
    for method in predictor.methods():
        assert np.isfinite(predictor.heatmap(prediction, method)).all()


def test_an_upload_is_kept_whole_for_models_of_other_sizes(registry, picture):
    sample = registry.open_upload(GROUP, "vit", str(picture))
    sizes = [len(registry.predictor(GROUP, name).source(sample.source)) for name in ("vit", "resnet", "timm")]
    assert sizes == [32, 48, 64]


def test_a_damaged_upload_is_refused(registry, picture, tmp_path):
    damaged = tmp_path / "damaged.png"
    damaged.write_bytes(picture.read_bytes()[:200])
    with pytest.raises(MedvitError, match="damaged"):
        registry.open_upload(GROUP, "vit", str(damaged))


def test_test_time_augmentation_is_of_mirror_images(registry, picture):
    predictor = registry.predictor(GROUP, "vit")
    prediction = predictor.predict(predictor.source(picture), tta=True)
    assert tta.count(GROUP) == 2
    assert prediction.agreement in (0.5, 1.0)


def test_many_pictures_at_once_are_as_one_by_one(registry, picture):
    predictor = registry.predictor(GROUP, "resnet")
    source = predictor.source(picture)
    together = predictor.predict_many([source, source[:, ::-1], source[:40]])  # the last of another size
    for each, pixels in zip(together, [source, source[:, ::-1], source[:40]], strict=True):
        np.testing.assert_allclose(
            each.probabilities, predictor.predict(pixels.copy()).probabilities, atol=1e-6
        )


def test_they_come_first_and_the_checkpoints_stay(registry):
    assert registry.subset_choices()[0] == ("Your models", GROUP)
    assert registry.model_choices(GROUP) == [(name, name) for name in NAMES]
    assert registry.has("bloodmnist", "vit_finetuned")


def test_examples_are_photographs_and_nothing_is_labelled(registry):
    samples = registry.examples(GROUP)
    assert all(sample.truth is None and not sample.synthetic for sample in samples)
    assert registry.sample(GROUP, 1).origin == samples[1].origin
    assert not registry.has_data(GROUP)
    assert "test" not in registry.checkpoint(GROUP, "vit").card
    with pytest.raises(MedvitError, match="no labelled pictures"):
        registry.test_sample(GROUP, 0)


def test_models_with_the_same_classes_are_comparable_whatever_their_order(registry):
    titles = [checkpoint.title for checkpoint in registry.comparable(GROUP, "blood")]
    assert titles[: len(NAMES)] == list(NAMES)
    assert "ViT, fine-tuned" in titles
    assert "blood" in [checkpoint.title for checkpoint in registry.comparable("bloodmnist", "cnn")]
    assert [checkpoint.title for checkpoint in registry.comparable(GROUP, "vit")] == list(NAMES)


def test_programs_get_its_predictions_and_maps(registry, picture):
    predicted = service.call(registry, "predict", GROUP, "imagenet", str(picture))
    assert len(predicted["probabilities"]) == 1000
    assert predicted["calibrated"] is predicted["prediction_set"] is predicted["in_distribution"] is None
    explained = service.call(registry, "explain", GROUP, "vit", str(picture), "relevance", -1, None, "dog")
    assert (explained["target"], np.shape(explained["map"])) == ("dog", (4, 4))


def test_what_is_known_of_it_is_on_its_card(registry):
    card = registry.predictor(GROUP, "resnet").model_card()
    assert card.facts["Input"].startswith("48 x 48 pixels; mean 0.5")
    assert card.facts["Classes"] == "4: LABEL_0, LABEL_1, LABEL_2, LABEL_3"
    assert card.facts["Attention"] == "This model has no attention: it is a CNN."
    assert any("not calibrated" in sentence for sentence in card.limitations)


def test_models_of_one_name_are_told_apart_and_one_given_twice_is_opened_once(own_models, tmp_path):
    other = shutil.copytree(own_models / "vit", tmp_path / "vit")
    first = str(own_models / "vit")
    assert [p.checkpoint.title for p in external.open_models([first, str(other), first])] == [
        "vit",
        "vit (2)",
    ]


def test_it_opens_without_any_checkpoint(own_models, tmp_path):
    registry = Registry.open(tmp_path, models=[str(own_models / "vit")])
    assert registry.subset_choices() == [("Your models", GROUP)]
    assert registry.models == [str(own_models / "vit")]


def test_a_checkpoint_of_medvit_belongs_elsewhere(trained):
    with pytest.raises(MedvitError, match="--checkpoints"):
        external.open_models([str(trained / "breastmnist" / "spt_lsa")])


def test_pictures_that_cannot_be_displayed_are_refused(own_models, tmp_path, monkeypatch):
    """A preprocessing that standardises each picture cannot be undone."""
    folder = shutil.copytree(own_models / "vit", tmp_path / "vit")
    standardise_each_picture(monkeypatch)
    with pytest.raises(MedvitError, match="more than resizing and normalising"):
        external.open_models([str(folder)])
