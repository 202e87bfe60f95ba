"""One training run: real images in, a checkpoint folder out.

The pixels stay uint8 until they are on the training device; there they are augmented and normalised, a batch
at a time. The epoch with the best validation accuracy is kept, of two equal ones that with the lower loss.
The test split is read once, after that.
"""

import json
import platform
import shutil
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import EvalPrediction, PreTrainedModel, Trainer, TrainingArguments

from medvit import checkpoint, models, subsets
from medvit.errors import MedvitError
from medvit.evaluation import trust_figures
from medvit.evaluation.metrics import evaluate
from medvit.evaluation.predict import predict_logits
from medvit.images import Preprocessing, to_tensor
from medvit.models.finetune import apply_strategy, merge_strategy
from medvit.training.recipes import Recipe


class PixelDataset(Dataset):
    """uint8 images and labels in memory, fetched a batch at a time."""

    def __init__(self, images: np.ndarray, labels: np.ndarray, multi_label: bool):
        self.pixels = to_tensor(images)
        self.labels = torch.from_numpy(labels).to(torch.float32 if multi_label else torch.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> dict[str, Tensor]:
        return self.__getitems__([index])

    def __getitems__(self, indices: list[int]) -> dict[str, Tensor]:
        chosen = torch.as_tensor(indices)
        return {"pixels": self.pixels[chosen], "labels": self.labels[chosen]}


def _as_it_is(batch: Any) -> Any:
    """Stands where the Trainer wants a collator: PixelDataset gives whole batches."""
    return batch


class Classifier(nn.Module):
    """A model with all that surrounds it in training, from uint8 pixels to the loss.

    The Trainer sees this plain module, so its checkpoints hold the parameters under the names they have in
    memory; those of a Hugging Face ViT would be renamed on saving, and not be found again on loading.
    """

    def __init__(self, model: nn.Module, preprocessing: Preprocessing, recipe: Recipe):
        super().__init__()
        self.model = model
        self.preprocessing = preprocessing
        self.augmentation = recipe.augmentation
        self.label_smoothing = recipe.label_smoothing

    def forward(self, pixels: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """uint8 pixels (B, 3, s, s), labels (B,) or, multi-label, (B, C), to loss and logits (B, C)."""
        if self.training:
            pixels = self.augmentation(pixels)
        logits = self.model(pixel_values=self.preprocessing(pixels)).logits.float()
        if labels.ndim == 2:
            return {"loss": F.binary_cross_entropy_with_logits(logits, labels), "logits": logits}
        smoothing = self.label_smoothing if self.training else 0.0
        return {"loss": F.cross_entropy(logits, labels, label_smoothing=smoothing), "logits": logits}


def train(
    subset_name: str,
    model_name: str,
    recipe: Recipe,
    out: Path,
    *,
    backbone: str = models.DEFAULT_BACKBONE,
    seed: int = 0,
    size: int = 28,
    data_root: str | Path | None = None,
    resume: bool = False,
    config: dict[str, Any] | None = None,
) -> Path:
    """Train one model and write its checkpoint folder.

    Args:
        out: the folder to write. While training, the state to resume from lies beside it, in
            ``.<name>.training``.
        resume: go on from that state, if there is any.
        config: more fields of the architecture's configuration.

    Returns:
        `out`

    Raises:
        MedvitError: data absent, unusable backbone, `out` taken, or the state belongs to another run.
    """
    out = Path(out).resolve()
    if out.exists():
        raise MedvitError(
            f"{out} exists already and is not overwritten. Choose another --out, or move it away."
        )
    subset = subsets.get(subset_name)
    transformers.set_seed(seed)
    model, preprocessing = models.build(model_name, subset, backbone, recipe.image_size, **(config or {}))
    if model_name == "vit_finetuned" and not torch.cuda.is_available():
        model.set_attn_implementation("eager")  # on a CPU its backward pass is the faster one
    trained = apply_strategy(model, recipe.strategy) if model_name == "vit_finetuned" else model
    splits = {split: subsets.load_split(subset_name, split, size, data_root) for split in ("train", "val")}
    images, labels = take_part(*splits["train"], recipe.train_images, seed)

    work = out.parent / f".{out.name}.training"
    settings = dict(
        subset=subset_name, model=model_name, seed=seed, size=size, recipe=asdict(recipe), config=config or {}
    )
    resume_from = _prepare_work(work, settings, resume)
    trainer = Trainer(
        model=Classifier(trained, preprocessing, recipe),
        data_collator=_as_it_is,
        args=_arguments(recipe, work, seed),
        train_dataset=PixelDataset(images, labels, subset.multi_label),
        eval_dataset=PixelDataset(*splits["val"], subset.multi_label),
        compute_metrics=lambda prediction: _validation_figures(prediction, subset),
    )
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=resume_from)
    seconds = time.monotonic() - started
    if model_name == "vit_finetuned":
        model = merge_strategy(trained, recipe.strategy)

    if trainer.is_world_process_zero():
        card = settings | {
            "strategy": recipe.strategy if model_name == "vit_finetuned" else "from scratch",
            "backbone": Path(backbone).name if model_name == "vit_finetuned" else None,
            "source_size": size,
            "input_size": preprocessing.size,
            "interpolation": "bicubic" if preprocessing.size != size else None,
            "parameters": model.num_parameters(),
            "trained_on": len(labels),
            "data_md5": subsets.md5sum(subsets.archive_path(subset_name, size, data_root)),
            "history": _history(trainer.state.log_history),
            "selection": "best validation accuracy, the lower validation loss where equal",
            "hardware": _hardware(trainer.args.device),
            "seconds": round(seconds, 1),
            "versions": {"python": platform.python_version(), "torch": torch.__version__}
            | {"transformers": transformers.__version__},
        }
        del card["size"]
        _export(out, model, preprocessing, card, subset, size, data_root)
        shutil.rmtree(work)
    return out


def take_part(
    images: np.ndarray, labels: np.ndarray, count: int | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """A random part of a split with the class shares of the whole; all of it where `count` is None."""
    if count is None or count >= len(labels):
        return images, labels
    from sklearn.model_selection import train_test_split

    stratify = labels if labels.ndim == 1 else None
    part, _ = train_test_split(np.arange(len(labels)), train_size=count, random_state=seed, stratify=stratify)
    part.sort()
    return images[part], labels[part]


def _prepare_work(work: Path, settings: dict[str, Any], resume: bool) -> str | None:
    """Make the folder of the training state; return the state to resume from, if any."""
    note = work / "run.json"
    wanted = json.loads(json.dumps(settings))
    if resume and note.is_file():
        if json.loads(note.read_text()) != wanted:
            raise MedvitError(
                f"{work} belongs to a run with other settings. Use the same ones, or leave out --resume."
            )
        return transformers.trainer_utils.get_last_checkpoint(str(work))
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    note.write_text(json.dumps(wanted))
    return None


def _arguments(recipe: Recipe, work: Path, seed: int) -> TrainingArguments:
    on_gpu = torch.cuda.is_available()
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        per_device_eval_batch_size=256,
        learning_rate=recipe.learning_rate,
        weight_decay=recipe.weight_decay,
        warmup_steps=recipe.warmup,
        lr_scheduler_type="cosine",
        optim="adamw_torch_fused" if on_gpu else "adamw_torch",
        bf16=True,
        tf32=on_gpu or None,
        use_cpu=not on_gpu,
        seed=seed,
        eval_strategy="epoch",
        save_strategy="epoch",
        save_total_limit=1,
        load_best_model_at_end=True,
        metric_for_best_model="score",
        greater_is_better=True,
        logging_strategy="epoch",
        remove_unused_columns=False,
        label_names=["labels"],
        report_to="none",
        dataloader_pin_memory=on_gpu,
    )


def _validation_figures(prediction: EvalPrediction, subset: subsets.Subset) -> dict[str, float]:
    logits, labels = np.asarray(prediction.predictions), np.asarray(prediction.label_ids)
    figures = evaluate(logits, labels, subset.task, subset.classes)
    kept = {key: figures[key] for key in ("accuracy", "macro_f1", "auc")}
    # Accuracy decides; the loss, squashed below what one image can change, breaks ties.
    return kept | {"score": figures["accuracy"] - 1e-6 * min(figures["loss"], 10.0)}


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
    out: Path,
    model: PreTrainedModel,
    preprocessing: Preprocessing,
    card: dict[str, Any],
    subset: subsets.Subset,
    size: int,
    data_root: str | Path | None,
) -> None:
    """Write the folder; its figures come from the weights as they lie in it, rounded to fp16."""
    with checkpoint.whole_folder(out) as folder:
        checkpoint.write_model(folder, model, preprocessing)
        stored: nn.Module = checkpoint.load_model(folder)
        stored.to(model.device)
        for split in ("val", "test"):
            images, labels = subsets.load_split(subset.name, split, size, data_root)
            logits = checkpoint.to_half(predict_logits(stored, preprocessing, images))
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
        card["sha256"] = checkpoint.sha256(folder / checkpoint.WEIGHTS)
        (folder / "card.json").write_text(json.dumps(card, indent=1) + "\n")
        trust_figures.complete(folder, data_root)
