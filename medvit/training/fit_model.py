"""Build one model and fit it to arrays."""

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments

from medvit import checkpoint, models
from medvit.checkpoint import Checkpoint
from medvit.data import Dataset, load_split, prepare
from medvit.errors import MedvitError
from medvit.imaging.preprocess import MAX_SIZE, Preprocessing
from medvit.models import configs
from medvit.models.fast_training import optimize_for_training
from medvit.models.finetune import apply_strategy, merge_strategy
from medvit.training.dataset import BatchLoader, DeviceDataset
from medvit.training.objective import TrainingModule, class_weights, training_targets
from medvit.training.recipes import Recipe, check
from medvit.training.trainer import FitResult, Validation, fit, training_arguments

Split = tuple[np.ndarray, np.ndarray]  # images uint8 (N, s, s) or (N, s, s, 3); labels (N,) or (N, C)


@dataclass(frozen=True)
class TrainingSetup:
    """One model to train, on what, and how.

    `backbone`: hub id or folder of the pretrained ViT, for "vit_finetuned". `initial_checkpoint`: a
    checkpoint folder of the same architecture whose weights are the start; its head too where the classes
    are the same.
    `teachers`: checkpoint folders of the same dataset whose mean prediction is learned too.
    `size`: source size of the images in pixels. `data_options`: the options of `medvit train` that name one's
    own pictures, for the command in the card. `engine`, `save_seconds`: see `medvit.training.trainer`.
    """

    dataset: Dataset
    model_name: str
    recipe: Recipe
    seed: int = 0
    backbone: str = models.DEFAULT_BACKBONE
    initial_checkpoint: Path | None = None
    teachers: tuple[Path, ...] = ()
    size: int = 28
    data_root: str | Path | None = None
    engine: str = "auto"
    save_seconds: float = 30.0
    data_options: tuple[str, ...] = ()

    @property
    def fine_tunes(self) -> bool:
        """Whether the model starts from a pretrained backbone."""
        return self.model_name == "vit_finetuned"

    def load(self, split: str) -> Split:
        """Read the images and labels of a split, "train", "val" or "test"."""
        return load_split(self.dataset, split, self.size, self.data_root)

    def load_groups(self, *splits: str) -> np.ndarray | None:
        """Read the groups of one's own pictures of these splits, one after the other, as numbers (N,).

        A picture without a group is one of its own. None where no picture has a group.
        """
        if not self.dataset.own:
            return None
        names = [name for split in splits for name in prepare.load_groups(self.dataset, split)]
        if not any(names):
            return None
        keys = [f"group {name}" if name else f"picture {i}" for i, name in enumerate(names)]
        return np.unique(keys, return_inverse=True)[1]


@dataclass(frozen=True)
class BuiltModel:
    """A model before training, and the checkpoints that its training uses."""

    model: PreTrainedModel
    preprocessing: Preprocessing
    initial: Checkpoint | None
    teachers: list[Checkpoint]


@dataclass(frozen=True)
class FittedModel:
    """A trained model in evaluation mode, with merged weights."""

    model: PreTrainedModel
    preprocessing: Preprocessing
    result: FitResult
    args: TrainingArguments


def build(setup: TrainingSetup) -> BuiltModel:
    """Build the model of a setup with the weights it starts from.

    Raises:
        MedvitError: an impossible recipe, or an unusable backbone, initial checkpoint or teacher.
    """
    recipe = setup.recipe
    check(recipe)
    if not 0 <= setup.seed < 2**32:
        raise MedvitError(f"The seed must be from 0 to {2**32 - 1:,}, not {setup.seed:,}.")
    configs.check_fields(setup.model_name, recipe.config)
    if recipe.wise_ft_alpha < 1 and setup.initial_checkpoint is None:
        raise MedvitError("wise_ft_alpha below 1 needs the weights to mix in: name --initial-checkpoint.")
    if recipe.distill_folds and (setup.teachers or setup.initial_checkpoint):
        raise MedvitError(
            "distill_folds trains its own teachers: leave out --teachers and --initial-checkpoint."
        )
    transformers.set_seed(setup.seed)
    model, preprocessing = models.build(
        setup.model_name,
        setup.dataset,
        str(setup.initial_checkpoint or setup.backbone),
        recipe.image_size,
        **_config(setup),
    )
    if preprocessing.size > MAX_SIZE:
        raise MedvitError(f"An input has at most {MAX_SIZE} pixels a side, not {preprocessing.size}.")
    initial = _load_initial(setup, model) if setup.initial_checkpoint else None
    teachers = [_load_teacher(folder, setup.dataset) for folder in setup.teachers]
    return BuiltModel(model, preprocessing, initial, teachers)


def fit_model(
    setup: TrainingSetup,
    built: BuiltModel,
    training: Split,
    validation: Split | None,
    work: Path,
    soft_labels: np.ndarray | None = None,
) -> FittedModel:
    """Train a built model; go on from the newest state in the folder `work` where there is one.

    Args:
        validation: where given, the epoch with the lowest log-loss on it is kept, else the last epoch.
        soft_labels: probabilities (N, C) of the training images, see `training_targets`.
    """
    recipe, dataset = setup.recipe, setup.dataset
    images, labels = training
    args = training_arguments(recipe, work, setup.seed, evaluate=validation is not None)
    optimize_for_training(built.model, args.device, recipe.patch_dropout)
    initial_weights = copy.deepcopy(built.model.state_dict()) if recipe.wise_ft_alpha < 1 else None
    model = apply_strategy(built.model, recipe.strategy) if setup.fine_tunes else built.model
    weighted = recipe.class_weight_power and labels.ndim == 1
    module = TrainingModule(
        model,
        built.preprocessing,
        recipe,
        class_weights(labels, len(dataset.classes), recipe.class_weight_power) if weighted else None,
        dataset.multi_label,
        [(_on_device(teacher.model, args.device), teacher.preprocessing) for teacher in built.teachers],
    ).to(args.device)
    targets = training_targets(labels, len(dataset.classes), recipe, soft_labels)
    loader = BatchLoader(
        DeviceDataset(images, args.device, targets),
        recipe.batch_size,
        setup.seed,
        args.process_index,
        args.world_size,
    )
    held_out = None
    if validation is not None:
        held_out = Validation(DeviceDataset(validation[0], args.device), validation[1], dataset.task)
    result = fit(module, loader, held_out, args, setup.engine, setup.save_seconds)
    model.load_state_dict(result.weights)
    merged = merge_strategy(model, recipe.strategy) if setup.fine_tunes else built.model
    if initial_weights is not None:
        weights = interpolate(initial_weights, merged.state_dict(), recipe.wise_ft_alpha)
        merged.load_state_dict(weights)
    return FittedModel(merged.eval(), built.preprocessing, result, args)


def interpolate(initial: dict[str, Tensor], trained: dict[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """Return (1 - alpha) * initial + alpha * trained; integers, which are counters, are the trained ones."""
    return {
        name: torch.lerp(initial[name].to(tensor), tensor, alpha) if tensor.is_floating_point() else tensor
        for name, tensor in trained.items()
    }


def _config(setup: TrainingSetup) -> dict[str, Any]:
    """Fields of the architecture's configuration, with the patch dropout of a transformer from scratch."""
    recipe = setup.recipe
    if recipe.patch_dropout and setup.model_name == "cnn":
        raise MedvitError("A cnn has no patches: leave patch_dropout at 0.")
    from_scratch = recipe.patch_dropout and not setup.fine_tunes
    return recipe.config | ({"patch_dropout": recipe.patch_dropout} if from_scratch else {})


def _load_initial(setup: TrainingSetup, model: PreTrainedModel) -> Checkpoint:
    """Give a model the weights of the initial checkpoint."""
    folder = setup.initial_checkpoint
    assert folder is not None
    initial = checkpoint.load(folder)
    if initial.model_name != setup.model_name:
        raise MedvitError(
            f"{folder} holds a {initial.model_name}, which cannot initialise a {setup.model_name}."
        )
    weights = initial.model.state_dict()
    if initial.model.config.id2label != model.config.id2label:
        weights = {name: tensor for name, tensor in weights.items() if not name.startswith("classifier.")}
    try:
        model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise MedvitError(
            f"The weights in {folder} have other shapes than this {setup.model_name}: choose the same sizes."
        ) from error
    return initial


def _load_teacher(folder: Path, dataset: Dataset) -> Checkpoint:
    """Open a checkpoint whose predictions are learned."""
    teacher = checkpoint.load(folder)
    if teacher.dataset != dataset:
        raise MedvitError(
            f"{folder} was trained on {teacher.dataset.title} and cannot teach {dataset.title}: "
            "a teacher needs the same classes."
        )
    return teacher


def _on_device(model: nn.Module, device: torch.device) -> nn.Module:
    model.to(device)
    optimize_for_training(model, device)
    return model
