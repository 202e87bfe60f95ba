"""One training run: real images in, a checkpoint folder out.

The epoch with the best validation accuracy is kept, of two equal ones that with the lower loss. The test
split is read once, after that.
"""

import copy
import json
import platform
import shutil
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from transformers import PreTrainedModel, TrainingArguments

from medvit import checkpoint, files, models
from medvit.data import Dataset, medmnist, stratified_sample
from medvit.errors import MedvitError
from medvit.evaluation.inference import predict
from medvit.evaluation.metrics import evaluate
from medvit.imaging.preprocess import Preprocessing
from medvit.models.pretrained import apply_strategy, merge_strategy, optimize_for_training
from medvit.reliability import measure
from medvit.training.dataset import BatchLoader, DeviceDataset
from medvit.training.objective import TrainingModule
from medvit.training.recipes import Recipe
from medvit.training.trainer import EmaAndBestCallback, MedvitTrainer, last_state


def train(
    subset_name: str,
    model_name: str,
    recipe: Recipe,
    out: Path,
    *,
    backbone: str = models.DEFAULT_BACKBONE,
    start: Path | None = None,
    teachers: Sequence[Path] = (),
    seed: int = 0,
    size: int = 28,
    data_root: str | Path | None = None,
    resume: bool = False,
    engine: str = "auto",
    save_seconds: float = 30.0,
    trust: bool = True,
) -> Path:
    """Train one model and write its checkpoint folder.

    Under ``accelerate launch`` or ``torchrun`` the processes share the work, each taking its part of every
    batch, and the first one writes the folder.

    Args:
        start: a checkpoint folder of the same architecture to go on from; its head goes along where the
            classes are the same.
        teachers: checkpoint folders of the same subset, of any architecture, whose mean answer is learned
            too.
        out: the folder to write. While training, the state to resume from lies beside it, in
            ``.<name>.training``.
        resume: go on from that state, if there is any.
        engine: see `medvit.training.engine.Engine`.
        save_seconds: least time between two saved states; 0 saves after each epoch.
        trust: fit trust.npz at the end, see `medvit.evaluation.trust_figures.complete`.

    Returns:
        `out`

    Raises:
        MedvitError: data absent, unusable backbone, start or teacher, an unknown or impossible field, `out`
            taken, or the state is that of another run.
    """
    out = Path(out).resolve()
    if out.exists():
        raise MedvitError(
            f"{out} exists already and is not overwritten. Choose another --out, or move it away."
        )
    for field in ("epochs", "batch_size", "learning_rate", "image_size", "train_images"):
        if (value := getattr(recipe, field)) is not None and value <= 0:
            raise MedvitError(f"{field} must be above zero, not {value}.")
    if not 0 <= recipe.blend < 1 or recipe.blend and start is None:
        raise MedvitError(
            "blend is a share from 0 to below 1, and needs a checkpoint to start from (--start)."
        )
    if not 0 <= recipe.distill <= 1:
        raise MedvitError(f"distill is a share from 0 to 1, not {recipe.distill}.")
    subset = medmnist.get(subset_name)
    transformers.set_seed(seed)
    work = out.parent / f".{out.name}.training"
    args = arguments(recipe, work, seed)
    model, preprocessing = models.build(
        model_name, subset, str(start or backbone), recipe.image_size, **recipe.config
    )
    known = type(model.config)()
    if unknown := [name for name in recipe.config if not hasattr(known, name)]:
        raise MedvitError(f"Neither a recipe nor the architecture of {model_name} has {', '.join(unknown)}.")
    earlier = _go_on_from(start, model, model_name) if start else None
    optimize_for_training(model, args.device)
    taught_by = [_teacher(folder, subset, args.device) for folder in teachers]
    trained = apply_strategy(model, recipe.strategy) if model_name == "vit_finetuned" else model
    splits = {split: medmnist.load_split(subset_name, split, size, data_root) for split in ("train", "val")}
    images, labels = splits["train"]
    if recipe.train_images is not None:
        part = stratified_sample(labels, recipe.train_images, seed)
        images, labels = images[part], labels[part]

    settings = dict(subset=subset_name, model=model_name, seed=seed, size=size, recipe=asdict(recipe))
    if earlier:
        settings["start"] = earlier
    if taught_by:
        settings["teachers"] = [
            {key: one.card[key] for key in ("model", "seed", "sha256")} for one in taught_by
        ]
    state = _prepare_work(work, args, settings, resume)
    classifier = TrainingModule(
        trained, preprocessing, recipe, labels, len(subset.classes),
        [(one.model, one.preprocessing) for one in taught_by],
    ).to(args.device)  # fmt: skip
    keeper = EmaAndBestCallback(classifier, save_seconds)
    if state:
        keeper.restore(state)
    data, validation = (DeviceDataset(*split, args.device) for split in ((images, labels), splits["val"]))
    begun = copy.deepcopy(classifier.model.state_dict()) if recipe.blend else {}
    trainer = MedvitTrainer(
        classifier,
        args,
        BatchLoader(data, recipe.batch_size, seed, args.process_index, args.world_size),
        validation,
        subset,
        engine,
        callbacks=[keeper],
    )
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=str(state) if state else None)
    seconds = time.monotonic() - started

    if trainer.is_world_process_zero():
        trained.load_state_dict(blended(keeper.best, begun, recipe.blend) if recipe.blend else keeper.best)
        if model_name == "vit_finetuned":
            model = merge_strategy(trained, recipe.strategy)
        card = settings | {
            "strategy": recipe.strategy if model_name == "vit_finetuned" else "from scratch",
            "backbone": (earlier["backbone"] if earlier else _public_name(backbone))
            if model_name == "vit_finetuned"
            else None,
            "source_size": size,
            "input_size": preprocessing.size,
            "interpolation": "bicubic" if preprocessing.size != size else None,
            "parameters": model.num_parameters(),
            "trained_on": len(labels),
            "data_md5": files.md5sum(medmnist.archive_path(subset_name, size, data_root)),
            "history": _history(trainer.state.log_history),
            "selection": "best validation accuracy, the lower validation loss where equal",
            "hardware": _hardware(args.device),
            "engine": trainer.engine,
            "processes": args.world_size,
            "seconds": round(seconds, 1),
            "versions": {"python": platform.python_version(), "torch": torch.__version__}
            | {"transformers": transformers.__version__},
        }
        del card["size"]
        with files.atomic_folder(out) as folder:
            _export(folder, model, preprocessing, card, subset, size, data_root)
            if trust:
                measure.complete(folder, data_root, model.device)
        shutil.rmtree(work)
    return out


def _go_on_from(folder: Path, model: PreTrainedModel, model_name: str) -> dict[str, Any]:
    """Give a model the weights of a checkpoint; return what the card is to say of that one."""
    found = checkpoint.load(folder)
    if found.model_name != model_name:
        raise MedvitError(f"{folder} holds a {found.model_name}; a {model_name} cannot go on from it.")
    weights = found.model.state_dict()
    if found.model.config.id2label != model.config.id2label:
        weights = {name: one for name, one in weights.items() if not name.startswith("classifier.")}
    try:
        model.load_state_dict(weights, strict=False)
    except RuntimeError as error:
        raise MedvitError(
            f"The weights in {folder} have other shapes than this {model_name}: give it the same sizes."
        ) from error
    kept = ("subset", "seed", "recipe", "trained_on", "sha256", "backbone", "start")
    return {key: found.card[key] for key in kept if key in found.card}


def _teacher(folder: Path, subset: Dataset, device: torch.device) -> checkpoint.Checkpoint:
    """A checkpoint whose answers are to be learned."""
    found = checkpoint.load(folder)
    if found.subset != subset:
        raise MedvitError(
            f"{folder} was trained on {found.subset.title}: it can teach nothing of {subset.title}."
        )
    nn.Module.to(found.model, device)  # transformers annotates its own wrongly
    optimize_for_training(found.model, device)
    return found


def _public_name(backbone: str) -> str:
    """A hub id as it is; of a folder its name, as the path to it is nobody's business."""
    return Path(backbone).name if Path(backbone).is_dir() else backbone


def blended(weights: dict[str, Tensor], others: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """Weights with a share of others in them; those that are counts stay as they are."""
    return {
        name: torch.lerp(one, others[name].to(one), share) if one.is_floating_point() else one
        for name, one in weights.items()
    }


def _prepare_work(work: Path, args: TrainingArguments, settings: dict[str, Any], resume: bool) -> Path | None:
    """Make the folder of the training state; return the state to resume from, if any."""
    note = work / "run.json"
    wanted = json.loads(json.dumps(settings))
    if resume and note.is_file():
        if json.loads(note.read_text()) != wanted:
            raise MedvitError(
                f"{work} belongs to a run with other settings. Use the same ones, or leave out --resume."
            )
    elif args.process_index == 0:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        with files.atomic_file(note) as file:  # for a run that is killed here, and for other processes
            file.write(json.dumps(wanted).encode())
    args.distributed_state.wait_for_everyone()
    return last_state(work)


def arguments(recipe: Recipe, work: Path, seed: int) -> TrainingArguments:
    """What the Trainer is told; its states go to the folder `work`."""
    on_gpu = torch.cuda.is_available()
    args = TrainingArguments(
        output_dir=str(work),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        warmup_steps=recipe.warmup,
        lr_scheduler_type="cosine",
        use_cpu=not on_gpu,
        seed=seed,
        eval_strategy="epoch",
        save_strategy="no",  # Keeper says when
        logging_strategy="epoch",
        logging_nan_inf_filter=False,  # it would make the host wait for the device at each step
        remove_unused_columns=False,
        report_to="none",
        ddp_find_unused_parameters=False,
    )
    # One process, one GPU: the Trainer would spread a batch over all of them, which is slower than launching
    # a process for each.
    args._n_gpu = min(args.n_gpu, 1)
    return args


def _history(log: list[dict[str, float]]) -> list[dict[str, float]]:
    """One row an epoch: epoch, train_loss, val_loss, val_accuracy, val_macro_f1, val_auc."""
    rows: dict[float, dict[str, float]] = {}
    for entry in log:
        row = rows.setdefault(round(entry["epoch"], 4), {})
        if "loss" in entry:
            row["train_loss"] = entry["loss"]
        for key in ("loss", "accuracy", "macro_f1", "auc"):
            if f"eval_{key}" in entry:
                row[f"val_{key}"] = entry[f"eval_{key}"]
    return [{"epoch": epoch, **row} for epoch, row in sorted(rows.items()) if "val_loss" in row]


def _hardware(device: torch.device) -> str:
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    threads = torch.get_num_threads()
    return "one CPU core" if threads == 1 else f"{threads} CPU cores"


def _export(
    folder: Path,
    model: PreTrainedModel,
    preprocessing: Preprocessing,
    card: dict[str, Any],
    subset: Dataset,
    size: int,
    data_root: str | Path | None,
) -> None:
    """Fill the folder; its figures come from the weights as they lie in it, rounded to fp16."""
    torch.backends.cudnn.allow_tf32 = False  # figures that a CPU confirms
    checkpoint.write_model(folder, model, preprocessing)
    stored: nn.Module = checkpoint.load_model(folder)
    stored.to(model.device)
    for split in ("val", "test"):
        images, labels = medmnist.load_split(subset.name, split, size, data_root)
        logits = checkpoint.to_half(predict(stored, preprocessing, images)[0])
        card["validation" if split == "val" else "test"] = evaluate(
            logits, labels, subset.task, subset.classes
        )
    checkpoint.write_test(folder, logits, labels)
    card["seeds"] = [
        {"seed": card["seed"]}
        | {
            f"{split}_{key}": card[split][key]
            for split in ("validation", "test")
            for key in ("accuracy", "auc")
        }
    ]
    card["sha256"] = files.sha256(folder / checkpoint.WEIGHTS)
    checkpoint.write_card(folder, card)
