"""A Trainer that wastes no time between the steps of a small model, and what it keeps and saves.

Batches are chosen, augmented and normalised on the device. On a GPU the whole of forward and backward is
recorded once as a CUDA graph and replayed, since launching the many kernels of so small a model one by one
takes longer than running them.
"""

import gc
import re
import shutil
import time
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import Trainer, TrainerCallback, TrainingArguments

from medvit.data import Dataset
from medvit.evaluation.metrics import summary
from medvit.training.dataset import BatchLoader, DeviceDataset
from medvit.training.objective import TrainingModule

BEST = "best.safetensors"  # the last file of a saved state: where it is, the state is whole
ENGINES = ("auto", "eager", "graphs", "compile")


def depth(name: str) -> int | None:
    """Which block a parameter belongs to, by its name; -1 before the first, None after the last."""
    block = re.search(r"\b(?:layers|blocks)\.(\d+)\.", name)
    if block:
        return int(block[1])
    return -1 if re.search(r"embedding|class_token|stem", name) else None


class MedvitTrainer(Trainer):
    """A Trainer on `Batches`; it judges on the device too, and can replay its step as a CUDA graph.

    Args:
        engine: "eager"; "graphs", record the step as a CUDA graph; "compile", torch.compile; "auto", graphs
            where there is one process with a GPU. Where graphs do not work, eager with a warning.
    """

    def __init__(
        self,
        classifier: TrainingModule,
        args: TrainingArguments,
        batches: BatchLoader,
        validation: DeviceDataset,
        subset: Dataset,
        engine: str = "auto",
        **options: Any,
    ):
        super().__init__(
            model=classifier, args=args, train_dataset=batches.dataset, eval_dataset=validation, **options
        )
        self.classifier, self.batches, self.validation, self.subset = classifier, batches, validation, subset
        alone_on_gpu = args.device.type == "cuda" and args.world_size == 1
        self.engine = ("graphs" if alone_on_gpu else "eager") if engine == "auto" else engine
        if self.engine == "graphs" and not alone_on_gpu:
            warnings.warn("CUDA graphs need one process with a GPU; the steps run eagerly.", stacklevel=2)
            self.engine = "eager"
        self._ready = False

    def get_train_dataloader(self) -> BatchLoader:  # type: ignore[override]
        return self.batches

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """AdamW; no weight decay on biases and norms; smaller steps in earlier blocks, if the recipe says."""
        recipe = self.classifier.recipe
        trained = [(name, p) for name, p in self.classifier.named_parameters() if p.requires_grad]
        last = 1 + max((depth(name) or 0 for name, _ in trained), default=0)
        groups: dict[tuple[float, float], list[nn.Parameter]] = {}
        for name, parameter in trained:
            block = depth(name)
            steps_back = 0 if block is None else last - block
            rate = recipe.learning_rate * recipe.layer_decay**steps_back
            decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((rate, decay), []).append(parameter)
        self.optimizer = torch.optim.AdamW(
            [dict(params=params, lr=rate, weight_decay=decay) for (rate, decay), params in groups.items()],
            fused=True,
        )
        return self.optimizer

    def compute_loss(self, model: nn.Module, inputs: dict[str, Tensor], *_: Any, **__: Any) -> Tensor:
        if not self._ready:
            self._prepare_engine(inputs)
        return model(inputs["pixels"], inputs["labels"])

    def _prepare_engine(self, inputs: dict[str, Tensor]) -> None:
        self._ready = True
        if self.engine == "compile":
            self.classifier.model.compile()
        elif self.engine == "graphs":
            buffers = [buffer.clone() for buffer in self.classifier.buffers()]
            sample = inputs["pixels"].clone(), inputs["labels"].clone()
            gc.collect()  # a graph that is freed while another is recorded spoils it
            try:
                torch.cuda.make_graphed_callables(self.classifier, sample, allow_unused_input=True)
            except (RuntimeError, AssertionError) as error:
                warnings.warn(f"No CUDA graph, the steps run eagerly: {error}", stacklevel=2)
                self.engine = "eager"
                random = torch.cuda.default_generators[torch.cuda.current_device()]
                random.graphsafe_set_state(random.clone_state())  # or it would wait for the recording's end
            for buffer, before in zip(self.classifier.buffers(), buffers, strict=True):
                buffer.copy_(before)  # warming up moved the statistics of batch normalisation

    def evaluate(self, *_: Any, metric_key_prefix: str = "eval", **__: Any) -> dict[str, float]:
        """Figures of the validation split; each process has all of it."""
        logits = self.classifier.predict(self.validation).cpu().numpy()
        figures = summary(logits, self.validation.labels.cpu().numpy(), self.subset.task)
        # Accuracy decides; the loss, squashed below what one image can change, breaks ties.
        figures["score"] = figures["accuracy"] - 1e-6 * min(figures["loss"], 10.0)
        named = {f"{metric_key_prefix}_{key}": value for key, value in figures.items()}
        self.log(named)
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, named)
        return named


class EmaAndBestCallback(TrainerCallback):
    """Averages the weights while they are trained, keeps the best in memory, and saves the state in between.

    Args:
        save_seconds: time from one saved state to the next, at ends of epochs; a small model's epoch on a GPU
            is over sooner than its state is written.
    """

    def __init__(self, classifier: TrainingModule, save_seconds: float):
        self.classifier = classifier
        self.save_seconds = save_seconds
        self.best: dict[str, Tensor] = {}
        self.last_save = time.monotonic()
        self.averages: list[Tensor] = []
        self.values: list[Tensor] = []

    def on_train_begin(self, args, state, control, **kwargs):
        if args.process_index:  # processes shall not draw the same augmentations
            torch.manual_seed(args.seed + args.process_index)
        if self.classifier.average is not None:  # looked up once, as that takes longer than a step
            states = (part.state_dict() for part in (self.classifier.average, self.classifier.model))
            average, model = ([t for t in s.values() if t.is_floating_point()] for s in states)
            self.averages, self.values = average, model

    @torch.no_grad()
    def on_step_end(self, args, state, control, **kwargs):
        if self.averages:
            # Slower at first, or the random start would linger.
            rate = 1 - min(self.classifier.recipe.ema, (1 + state.global_step) / (10 + state.global_step))
            torch._foreach_lerp_(self.averages, self.values, rate)

    def on_evaluate(self, args, state, control, **kwargs):
        scores = [row["eval_score"] for row in state.log_history if "eval_score" in row]
        if len(scores) == 1 or scores[-1] > max(scores[:-1]):
            self.best = {name: t.detach().clone() for name, t in self.classifier.kept.state_dict().items()}

    def on_epoch_end(self, args, state, control, **kwargs):
        due = torch.tensor(float(time.monotonic() - self.last_save >= self.save_seconds), device=args.device)
        if dist.is_initialized():  # all or none
            dist.broadcast(due, 0)
        control.should_save = bool(due) and state.global_step < state.max_steps

    def on_save(self, args, state, control, **kwargs):
        args.distributed_state.wait_for_everyone()
        if args.process_index == 0:
            folder = Path(args.output_dir) / f"checkpoint-{state.global_step}"
            save_file(self.best, folder / f"{BEST}.part")
            (folder / f"{BEST}.part").rename(folder / BEST)
            for other in folder.parent.glob("checkpoint-*"):
                if other != folder:
                    shutil.rmtree(other)
        self.last_save = time.monotonic()

    def restore(self, folder: Path) -> None:
        """Take the best weights so far from a saved state."""
        self.best = load_file(folder / BEST)


def last_state(work: Path) -> Path | None:
    """The newest whole state that `Keeper` saved in a folder; what a kill left unfinished is passed over."""
    whole = [path.parent for path in work.glob(f"checkpoint-*/{BEST}")]
    return max(whole, key=lambda path: int(path.name.split("-")[1]), default=None)
