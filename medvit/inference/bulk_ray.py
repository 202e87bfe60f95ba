"""`medvit.batch` on Ray Data: the same rows, from as many models as the cluster has room for.

Ray is optional (requirements-ray.txt). It uses the cluster at $RAY_ADDRESS, else starts one on this machine.
Files and checkpoints are opened where the work is done, so they must lie at the same path on all machines.
"""

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medvit.errors import MedvitError
from medvit.inference import bulk


class Worker:
    """One model in a process of its own; called by Ray with a batch of columns."""

    def __init__(self, folder: str):
        from medvit import checkpoint
        from medvit.inference.predictor import Predictor

        self.predictor = Predictor(checkpoint.load(folder))
        self.reader = bulk.Reader()

    def __call__(self, columns: dict[str, Any]) -> dict[str, list]:
        """Columns of `File`s to columns of `Row`s."""
        files = [
            bulk.File(str(name), Path(str(path)), None if member < 0 else int(member), int(size))
            for name, path, member, size in zip(
                columns["name"], columns["path"], columns["member"], columns["bytes"], strict=True
            )
        ]
        rows = [row for many in bulk.predict(self.predictor, files, self.reader, len(files)) for row in many]
        table = [asdict(row) for row in rows]
        return {name: [one[name] for one in table] for name in bulk.COLUMNS}


def predict(
    folder: Path, files: list[bulk.File], workers: int = 2, size: int = bulk.BATCH
) -> Iterator[list[bulk.Row]]:
    """Rows of `files` in their order, `size` at a time, as `batch.predict` gives them.

    Args:
        folder: the checkpoint's. workers: how many processes hold a model and a CPU.

    Raises:
        MedvitError: Ray is not installed, its cluster has too few CPUs, or a worker failed there.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # says nothing to anyone about this run
    try:
        import ray
        import ray.data
        from ray.exceptions import RayError
    except ImportError as error:
        raise MedvitError(
            "Ray is not installed. Install it with `pip install -r requirements-ray.txt`, or use "
            "--engine plain."
        ) from error
    home = str(Path(__file__).resolve().parents[2])
    if not ray.is_initialized():
        ray.init(
            include_dashboard=False,
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": home, "TRANSFORMERS_VERBOSITY": "error"}},
        )
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if workers > cpus:
        raise MedvitError(
            f"The cluster has {cpus} CPUs; {workers} workers need one each. Use fewer --workers."
        )
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    items = [
        {
            "name": file.name,
            "path": str(file.path.resolve()),
            "member": -1 if file.member is None else file.member,
            "bytes": file.bytes,
        }
        for file in files
    ]
    answers = ray.data.from_items(items, override_num_blocks=max(1, -(-len(items) // size))).map_batches(
        Worker,
        fn_constructor_args=(str(Path(folder).resolve()),),
        batch_size=size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    )
    try:
        for columns in answers.iter_batches(batch_size=size, batch_format="numpy"):
            yield [_row(values) for values in zip(*(columns[name] for name in bulk.COLUMNS), strict=True)]
    except RayError as error:
        # The lines before the last are the worker's traceback.
        reason = str(error).strip().splitlines()[-1].removeprefix("medvit.errors.MedvitError: ")
        raise MedvitError(f"A worker of the Ray cluster failed: {reason}") from error


def _row(values: tuple) -> bulk.Row:
    fields = dict(zip(bulk.COLUMNS, values, strict=True))
    share = fields.pop("probability")
    number = None if share is None or share != share else float(share)  # arrow gives None back as NaN
    return bulk.Row(**{name: str(text) for name, text in fields.items()}, probability=number)
