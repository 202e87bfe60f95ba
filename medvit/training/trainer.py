"""The training loop: Hugging Face's Trainer on batches that are chosen and augmented on the device.

On a GPU the whole forward and backward pass is recorded once as a CUDA graph and replayed, because launching
the many kernels of such small models one by one takes longer than running them.
"""

import gc
import re
import shutil
import time
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from medvit.evaluation.metrics import summary
from medvit.training.dataset import DeviceDataset, Loader
from medvit.training.objective import TrainingModule
from medvit.training.recipes import Recipe

BEST = "best.safetensors"  # the last file of a saved state: a state without it is incomplete
ENGINES = ("auto", "eager", "graphs", "compile")


@dataclass(frozen=True)
class Validation:
    """A split to validate on after each epoch. `task`: see `medvit.data.Dataset`."""

    dataset: DeviceDataset
    labels: np.ndarray
    task: str


@dataclass(frozen=True)
class FitResult:
    """What a training run gives: the weights to keep, one row an epoch, and the seconds it took in all."""

    weights: dict[str, Tensor]
    history: list[dict[str, float]]
    seconds: float
    engine: str


def fit(
    module: TrainingModule,
    loader: Loader,
    validation: Validation | None,
    args: TrainingArguments,
    engine: str = "auto",
    save_seconds: float = 30.0,
) -> FitResult:
    """Train a module, from the newest state saved in ``args.output_dir`` where there is one.

    The weights of the epoch with the lowest validation log-loss are kept; without a validation split, those
    of the last epoch.

    Args:
        args: as `training_arguments` gives them.
        engine: see `MedvitTrainer`.
        save_seconds: least time between two saved states, which are written at the end of an epoch.
    """
    callback = EmaAndBestCallback(module, save_seconds)
    assert args.output_dir is not None
    state = last_state(Path(args.output_dir))
    if state:
        callback.restore(state)
    trainer = MedvitTrainer(module, args, loader, validation, engine, callbacks=[callback])
    trainer.train(resume_from_checkpoint=str(state) if state else None)
    history = _history(trainer.state.log_history)
    return FitResult(callback.best, history, callback.seconds, trainer.engine)


def training_arguments(recipe: Recipe, work: Path, seed: int, evaluate: bool = True) -> TrainingArguments:
    """Return the Trainer's options for a recipe; its states go to the folder `work`."""
    on_gpu = torch.cuda.is_available()
    args = TrainingArguments(
        output_dir=str(work),
        num_train_epochs=recipe.epochs,
        per_device_train_batch_size=recipe.batch_size,
        warmup_steps=recipe.warmup,
        lr_scheduler_type="cosine",
        use_cpu=not on_gpu,
        seed=seed,
        eval_strategy="epoch" if evaluate else "no",
        save_strategy="no",  # EmaAndBestCallback decides
        logging_strategy="epoch",
        logging_nan_inf_filter=False,  # it would make the host wait for the device at each step
        remove_unused_columns=False,
        report_to="none",
        ddp_find_unused_parameters=False,
    )
    # One process uses one GPU: the Trainer would spread a batch over all of them, which is slower than
    # launching one process for each.
    args._n_gpu = min(args.n_gpu, 1)
    return args


def last_state(work: Path) -> Path | None:
    """Return the newest complete state in a folder; one that a kill left incomplete does not count."""
    complete = [path.parent for path in work.glob(f"checkpoint-*/{BEST}")]
    return max(complete, key=lambda path: int(path.name.split("-")[1]), default=None)


class MedvitTrainer(Trainer):
    """A Trainer that validates on the training device and can replay its step as a CUDA graph.

    Args:
        engine: "eager"; "graphs", record the step as a CUDA graph; "compile", torch.compile; "auto", graphs
            for a single process with a GPU, else eager. Where graphs fail, eager with a warning.
    """

    def __init__(
        self,
        module: TrainingModule,
        args: TrainingArguments,
        loader: Loader,
        validation: Validation | None = None,
        engine: str = "auto",
        **options: Any,
    ):
        eval_dataset = validation.dataset if validation else None
        super().__init__(model=module, args=args, eval_dataset=eval_dataset, **options)
        self.module, self.loader, self.validation = module, loader, validation
        single_gpu = args.device.type == "cuda" and args.world_size == 1
        self.engine = ("graphs" if single_gpu else "eager") if engine == "auto" else engine
        if self.engine == "graphs" and not single_gpu:
            warnings.warn("CUDA graphs need one process with a GPU; the steps run eagerly.", stacklevel=2)
            self.engine = "eager"
        self._engine_ready = False

    def get_train_dataloader(self) -> Loader:  # type: ignore[override]
        return self.loader

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """Return AdamW without weight decay on biases and norms, and with the recipe's layer-wise rates."""
        recipe = self.module.recipe
        trained = [(name, p) for name, p in self.module.named_parameters() if p.requires_grad]
        last_block = max((block_index(name) or 0 for name, _ in trained), default=0)
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in trained:
            block = block_index(name)
            depth = 0 if block is None else last_block + 1 - block
            rate = recipe.learning_rate * recipe.layer_decay**depth
            decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [dict(params=params, lr=rate, weight_decay=decay) for (rate, decay), params in groups.items()],
            fused=True,
        )
        return self.optimizer

    def create_scheduler(
        self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None
    ) -> torch.optim.lr_scheduler.LRScheduler:
        """Return the schedule; a warm-up of one step would only be a step at a learning rate of zero."""
        if self.args.get_warmup_steps(num_training_steps) == 1:
            self.args.warmup_steps = 0
        return super().create_scheduler(num_training_steps, optimizer)

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *_: Any, **__: Any) -> Tensor:
        if not self._engine_ready:
            self._prepare_engine(inputs)
        return model(inputs["pixels"], inputs["targets"])

    def _prepare_engine(self, inputs: dict[str, Tensor]) -> None:
        self._engine_ready = True
        if self.engine == "compile":
            self.module.model.compile()
        elif self.engine == "graphs":
            buffers = [buffer.clone() for buffer in self.module.buffers()]
            sample = inputs["pixels"].clone(), inputs["targets"].clone()
            gc.collect()  # a graph that is freed while another is recorded spoils it
            try:
                torch.cuda.make_graphed_callables(self.module, sample, allow_unused_input=True)
            except (RuntimeError, AssertionError) as error:
                warnings.warn(f"No CUDA graph, the steps run eagerly: {error}", stacklevel=2)
                self.engine = "eager"
                generator = torch.cuda.default_generators[torch.cuda.current_device()]
                generator.graphsafe_set_state(generator.clone_state())  # or it waits for the recording's end
            for buffer, before in zip(self.module.buffers(), buffers, strict=True):
                buffer.copy_(before)  # warming up changed the statistics of batch normalisation

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Log and return the metrics of the validation split; each process predicts all of it."""
        assert self.validation is not None
        logits = self.module.predict(self.validation.dataset).cpu().numpy()
        metrics = summary(logits, self.validation.labels, self.validation.task)
        named = {f"{metric_key_prefix}_{key}": value for key, value in metrics.items()}
        self.log(named)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, named)
        return named


def block_index(name: str) -> int | None:
    """Return the block that a parameter belongs to, by its name; -1 before the first, None after the last."""
    block = re.search(r"\b(?:layers|blocks)\.(\d+)\.", name)
    if block:
        return int(block[1])
    return -1 if re.search(r"embedding|class_token|stem", name) else None


class EmaAndBestCallback(TrainerCallback):
    """Averages the weights during training, keeps the best ones, and decides when to save the state.

    `best`: the weights of the epoch with the lowest validation log-loss, else of the last epoch.

    Args:
        save_seconds: least time between two saved states; a small model's epoch on a GPU takes less time than
            writing its state.
    """

    def __init__(self, module: TrainingModule, save_seconds: float):
        self.module = module
        self.save_seconds = save_seconds
        self.best: dict[str, Tensor] = {}
        self.best_loss = float("inf")
        self.last_save = self.started = time.monotonic()
        self.seconds_before = 0.0
        self.averages: list[Tensor] = []
        self.values: list[Tensor] = []

    @property
    def seconds(self) -> float:
        """Seconds of training so far, those before a resumption included."""
        return self.seconds_before + time.monotonic() - self.started

    def on_train_begin(self, args, state, control, **kwargs):
        self.last_save = self.started = time.monotonic()
        if args.process_index:  # otherwise all processes draw the same augmentations
            torch.manual_seed(args.seed + args.process_index)
        if self.module.average is not None:  # collected once, because that takes longer than a step
            states = (part.state_dict() for part in (self.module.average, self.module.model))
            self.averages, self.values = ([t for t in s.values() if t.is_floating_point()] for s in states)

    @torch.no_grad()
    def on_step_end(self, args, state, control, **kwargs):
        if self.averages:
            # A shorter average at first, or the random initial weights would remain in it for long.
            rate = 1 - min(self.module.recipe.ema, (1 + state.global_step) / (10 + state.global_step))
            torch._foreach_lerp_(self.averages, self.values, rate)

    def on_evaluate(self, args, state, control, metrics, **kwargs):
        if not self.best or metrics["eval_loss"] < self.best_loss:
            self.best_loss = metrics["eval_loss"]
            self._keep()

    def on_epoch_end(self, args, state, control, **kwargs):
        due = torch.tensor(float(time.monotonic() - self.last_save >= self.save_seconds), device=args.device)
        if dist.is_initialized():  # all processes save, or none
            dist.broadcast(due, 0)
        control.should_save = bool(due)

    def on_save(self, args, state, control, **kwargs):
        args.distributed_state.wait_for_everyone()
        if args.process_index == 0:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            metadata = {"loss": repr(self.best_loss), "seconds": repr(self.seconds)}
            save_file(self.best, folder / f"{BEST}.part", metadata)
            (folder / f"{BEST}.part").rename(folder / BEST)
            for older in folder.parent.glob("checkpoint-*"):
                if older != folder:
                    shutil.rmtree(older)
        self.last_save = time.monotonic()

    def on_train_end(self, args, state, control, **kwargs):
        if not self.best:
            self._keep()

    def restore(self, folder: Path) -> None:
        """Read the best weights so far, their loss, and the seconds of training from a saved state."""
        with safe_open(folder / BEST, "pt") as file:
            self.best = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            self.best_loss = float(file.metadata()["loss"])
            self.seconds_before = float(file.metadata()["seconds"])

    def _keep(self) -> None:
        self.best = {name: t.detach().clone() for name, t in self.module.kept.state_dict().items()}


def _history(log: list[dict[str, float]]) -> list[dict[str, float]]:
    """One row an epoch: epoch, train_loss and, where validated, val_loss, val_accuracy and so on."""
    rows: dict[float, dict[str, float]] = {}
    for entry in log:
        row = rows.setdefault(round(entry["epoch"], 4), {})
        if "loss" in entry:
            row["train_loss"] = entry["loss"]
        for key in ("loss", "accuracy", "macro_f1", "auc"):
            if f"eval_{key}" in entry:
                row[f"val_{key}"] = entry[f"eval_{key}"]
    return [{"epoch": epoch, **row} for epoch, row in sorted(rows.items()) if row]
