"""Cross-fitted self-distillation: soft labels from models that did not see the images they label.

With `Recipe.distill_folds` = k, the training images are split into k folds. k models, each trained without
one fold, predict that fold; the final model is trained on the labels mixed with these predictions. This
reduces the effect of label noise and of the variance of small training sets (self-distillation: Furlanello
et al., ICML 2018; cross-fitting keeps a teacher from repeating labels it has memorised).
"""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np

from medvit.errors import MedvitError
from medvit.evaluation.inference import predict
from medvit.evaluation.metrics import probabilities
from medvit.files import atomic_file
from medvit.slow_imports import sklearn_model_selection
from medvit.training.fit_model import BuiltModel, FittedModel, Split, TrainingSetup, build, fit_model


def fit_with_distillation(
    setup: TrainingSetup,
    built: BuiltModel,
    training: Split,
    validation: Split | None,
    work: Path,
    groups: np.ndarray | None = None,
) -> tuple[FittedModel, float]:
    """Fit a built model, after the models of its folds where the recipe distils.

    Every stage resumes from what it left in the folder `work`.

    Args:
        groups: (N,) of the training images, see `stratified_folds`.

    Returns:
        the model, and the seconds of all stages.
    """
    soft_labels, seconds = None, 0.0
    if setup.recipe.distill_folds:
        soft_labels, seconds = out_of_fold_probabilities(setup, training, work, groups)
    fitted = fit_model(setup, built, training, validation, work, soft_labels)
    return fitted, seconds + fitted.result.seconds


def out_of_fold_probabilities(
    setup: TrainingSetup, training: Split, work: Path, groups: np.ndarray | None = None
) -> tuple[np.ndarray, float]:
    """Return for each training image the prediction of a model trained without its fold, and the seconds.

    A finished fold is kept in ``work/fold-<i>.npz``, an unfinished one resumes from ``work/fold-<i>/``.

    Returns:
        probabilities, float32 (N, C), after the last epoch of each fold's model.
    """
    images, labels = training
    fold_setup = replace(setup, recipe=replace(setup.recipe, distill_folds=0))
    soft_labels = np.empty((len(images), len(setup.dataset.classes)), np.float32)
    seconds = 0.0
    folds = stratified_folds(labels, setup.recipe.distill_folds, setup.seed, groups)
    for number, (rest, held_out) in enumerate(folds):
        file = work / f"fold-{number}.npz"
        if not file.is_file():
            states = work / f"fold-{number}"
            fitted = fit_model(fold_setup, build(fold_setup), (images[rest], labels[rest]), None, states)
            logits, _ = predict(fitted.model, fitted.preprocessing, images[held_out])
            probs = probabilities(logits, setup.dataset.multi_label).astype(np.float32)
            if fitted.args.process_index == 0:
                with atomic_file(file) as handle:
                    np.savez(handle, probs=probs, seconds=fitted.result.seconds)
                shutil.rmtree(states)
            fitted.args.distributed_state.wait_for_everyone()
        with np.load(file) as fold:
            soft_labels[held_out] = fold["probs"]
            seconds += float(fold["seconds"])
    return soft_labels, seconds


def stratified_folds(
    labels: np.ndarray, folds: int, seed: int, groups: np.ndarray | None = None
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield (indices of the other images, indices of the fold), each with the class frequencies of all.

    The folds of multi-label images, labels (N, C), are plain random ones.

    Args:
        groups: (N,) of the images; those of one group are in one fold.

    Raises:
        MedvitError: more folds than images of the largest class, or than groups, or an empty fold.
    """
    most = np.bincount(labels).max() if labels.ndim == 1 else len(labels)
    if groups is not None:
        most = min(most, len(np.unique(groups)))
    if folds > most:
        unit = "images of the largest class" if groups is None else "groups, or images of the largest class"
        raise MedvitError(f"{folds} folds are too many: there are {most} {unit}.")
    selection = sklearn_model_selection
    splitter = selection.StratifiedGroupKFold if groups is not None else selection.StratifiedKFold
    if labels.ndim > 1:
        splitter = selection.KFold
    split = splitter(folds, shuffle=True, random_state=seed).split(np.zeros(len(labels)), labels, groups)
    for rest, fold in split:
        if not len(fold):
            raise MedvitError(
                f"{folds} folds are too many: the groups are too large for it, and one is empty."
            )
        yield rest, fold
