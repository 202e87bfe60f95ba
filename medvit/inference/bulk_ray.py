"""`medvit.inference.bulk` on Ray Data: the same rows, computed by several models in parallel.

Ray is optional (requirements-ray.txt). It uses the cluster at $RAY_ADDRESS, else starts one on this machine.
Files and checkpoints are opened by the workers, so their paths must be the same on all machines.
"""

import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from medvit.checkpoint import load as load_checkpoint
from medvit.errors import MedvitError, first_line
from medvit.inference import bulk
from medvit.inference.predictor import Predictor


class Worker:
    """One model in a process of its own; Ray calls it with a batch of columns."""

    def __init__(self, folder: str):
        self.predictor = Predictor(load_checkpoint(folder))
        self.reader = bulk.Reader()

    def __call__(self, columns: dict[str, Any]) -> dict[str, list]:
        """Convert columns of `File`s to columns of `Row`s."""
        files = [
            bulk.File(str(name), Path(str(path)), None if member < 0 else int(member), int(size))
            for name, path, member, size in zip(
                columns["name"], columns["path"], columns["member"], columns["bytes"], strict=True
            )
        ]
        batches = bulk.predict(self.predictor, files, self.reader, len(files))
        rows = [asdict(row) for batch in batches for row in batch]
        return {name: [row[name] for row in rows] for name in bulk.COLUMNS}


def predict(
    folder: Path, files: list[bulk.File], workers: int = 2, batch_size: int = bulk.BATCH_SIZE
) -> Iterator[list[bulk.Row]]:
    """Yield the rows of `files` in their order, a batch at a time, as `bulk.predict` does.

    Args:
        folder: of the checkpoint.
        workers: number of processes, each with one model and one CPU.

    Raises:
        MedvitError: Ray is not installed, its cluster cannot be reached or has too few CPUs, or a worker
            failed.
    """
    ray = _start_ray()
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if workers > cpus:
        raise MedvitError(
            f"The cluster has {cpus} CPUs; {workers} workers need one each. Use fewer --workers."
        )
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    table = [
        {
            "name": file.name,
            "path": str(file.path.resolve()),
            "member": -1 if file.member is None else file.member,
            "bytes": file.bytes,
        }
        for file in files
    ]
    blocks = max(1, -(-len(table) // batch_size))
    results = ray.data.from_items(table, override_num_blocks=blocks).map_batches(
        Worker,
        fn_constructor_args=(str(Path(folder).resolve()),),
        batch_size=batch_size,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    )
    try:
        for columns in results.iter_batches(batch_size=batch_size, batch_format="numpy"):
            yield [_row(values) for values in zip(*(columns[name] for name in bulk.COLUMNS), strict=True)]
    except ray.exceptions.RayError as error:
        # The lines before the last are the worker's traceback.
        reason = str(error).strip().splitlines()[-1].removeprefix("medvit.errors.MedvitError: ")
        raise MedvitError(f"A worker of the Ray cluster failed: {reason}") from error


def _start_ray() -> Any:
    """Import Ray and connect to its cluster; return the module."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # no telemetry
    try:  # an optional dependency
        import ray
        import ray.data
        import ray.exceptions
    except ImportError as error:
        raise MedvitError(
            "Ray is not installed. Install it with `pip install -r requirements-ray.txt`, or use "
            "--engine plain."
        ) from error
    if not ray.is_initialized():
        package_parent = str(Path(__file__).resolve().parents[2])
        try:
            ray.init(
                include_dashboard=False,
                log_to_driver=False,
                runtime_env={"env_vars": {"PYTHONPATH": package_parent, "TRANSFORMERS_VERBOSITY": "error"}},
            )
        except ConnectionError as error:
            raise MedvitError(f"There is no Ray cluster at $RAY_ADDRESS ({first_line(error)}).") from error
    return ray


def _row(values: tuple) -> bulk.Row:
    row = dict(zip(bulk.COLUMNS, values, strict=True))
    prob = row.pop("probability")
    number = None if prob is None or prob != prob else float(prob)  # arrow returns None as NaN
    return bulk.Row(**{name: str(text) for name, text in row.items()}, probability=number)
