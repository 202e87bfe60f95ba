import numpy as np
import pytest

from medvit import checkpoint, files
from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.training import distillation
from medvit.training.distillation import out_of_fold_probabilities, stratified_folds
from medvit.training.fit_model import TrainingSetup
from medvit.training.work import work_folder

from .conftest import tiny_recipe


def test_folds_are_stratified_and_cover_every_image_once():
    labels = np.repeat([0, 1], [30, 10])
    folds = [held_out for _, held_out in stratified_folds(labels, 5, seed=0)]
    assert sorted(np.concatenate(folds)) == list(range(40))
    assert [labels[fold].sum() for fold in folds] == [2] * 5
    multi_label = np.zeros((40, 3), np.int64)
    assert len(list(stratified_folds(multi_label, 4, seed=0))) == 4


def test_images_of_one_group_are_in_one_fold():
    labels, groups = np.tile([0, 1], 12), np.repeat(np.arange(6), 4)
    folds = list(stratified_folds(labels, 3, seed=0, groups=groups))
    assert sorted(np.concatenate([held_out for _, held_out in folds])) == list(range(24))
    for rest, held_out in folds:
        assert len(held_out) == 8 and len(set(groups[held_out])) == 2
        assert not set(groups[held_out]) & set(groups[rest])


@pytest.mark.parametrize(
    ("groups", "folds", "message"),
    [
        (None, 7, "7 folds are too many: there are 6 images of the largest class"),
        (np.arange(10) // 3, 5, "5 folds are too many: there are 4 groups, or images of the largest class"),
    ],
)
def test_more_folds_than_images_or_groups_are_refused(groups, folds, message):
    with pytest.raises(MedvitError, match=message):
        list(stratified_folds(np.repeat([0, 1], [6, 4]), folds, seed=0, groups=groups))


def test_an_empty_fold_is_refused():
    groups = np.repeat(np.arange(5), [5, 5, 2, 3, 2])
    with pytest.raises(MedvitError, match="5 folds are too many: the groups are too large"):
        list(stratified_folds(np.array([1, 0, 1, 0, 0])[groups], 5, seed=0, groups=groups))


def test_each_image_is_predicted_by_a_model_that_did_not_see_it(tmp_path, monkeypatch):
    dataset = medmnist.get("breastmnist")
    recipe = tiny_recipe("breastmnist", "cnn", distill_folds=2, epochs=1, batch_size=4)
    images = np.random.default_rng(0).integers(0, 256, (12, 28, 28), dtype=np.uint8)
    labels = np.arange(12) % 2
    trained_on = []

    def noting(setup, built, training, validation, work, *soft_labels):
        trained_on.append(training[0])
        return fit_model(setup, built, training, validation, work, *soft_labels)

    fit_model = distillation.fit_model
    monkeypatch.setattr(distillation, "fit_model", noting)
    setup = TrainingSetup(dataset, "cnn", recipe)
    probs, seconds = out_of_fold_probabilities(setup, (images, labels), tmp_path)
    np.testing.assert_allclose(probs.sum(1), 1, rtol=1e-5)
    assert seconds > 0
    assert [len(part) for part in trained_on] == [6, 6]
    first, second = ({image.tobytes() for image in part} for part in trained_on)
    assert not first & second
    again, _ = out_of_fold_probabilities(setup, (images, labels), tmp_path)
    np.testing.assert_array_equal(again, probs)
    assert len(trained_on) == 2  # finished folds are read from the folder

    groups = np.arange(12) // 2 % 3
    out_of_fold_probabilities(setup, (images, labels), tmp_path / "groups", groups)
    first, second = ({image.tobytes() for image in part} for part in trained_on[2:])
    members = [{image.tobytes() for image in images[groups == group]} for group in range(3)]
    assert not first & second
    assert all(group <= first or group <= second for group in members)


def test_one_run_trains_the_folds_and_the_final_model_and_resumes_between_them(
    quick_train, tmp_path, monkeypatch
):
    options = dict(subset="breastmnist", model="cnn", distill_folds=2, epochs=1, save_seconds=0)
    uninterrupted = quick_train(name="uninterrupted", **options)
    card = checkpoint.load(uninterrupted).card
    assert card["recipe"]["distill_folds"] == 2
    assert card["command"].endswith("distill_folds=2 width=4 'depths=[1, 1, 1, 1]'")

    fit_model = distillation.fit_model

    def killed(setup, built, training, validation, work, *soft_labels):
        if work.name == "fold-1":
            raise KeyboardInterrupt
        return fit_model(setup, built, training, validation, work, *soft_labels)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(distillation, "fit_model", killed)
        quick_train(name="killed", **options)
    assert (work_folder(tmp_path / "killed") / "fold-0.npz").is_file()
    resumed = quick_train(name="killed", resume=True, **options)
    hashes = [files.sha256(folder / checkpoint.WEIGHTS) for folder in (uninterrupted, resumed)]
    assert hashes[0] == hashes[1]
