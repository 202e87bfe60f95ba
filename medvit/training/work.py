"""The folder with the saved state of an unfinished run, from which a killed run resumes."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from transformers import TrainingArguments

from medvit import files
from medvit.errors import MedvitError

NOTE = "run.json"  # the description of the run


def work_folder(out: Path) -> Path:
    """Return the folder of the state of an unfinished run, beside its result."""
    return out.parent / f".{out.name}.training"


@contextmanager
def prepared_work(
    work: Path, args: TrainingArguments, description: dict[str, Any], resume: bool
) -> Iterator[None]:
    """Make the folder of the training state, empty unless it is resumed from.

    It is deleted where the block raises a MedvitError before any state was saved.

    Raises:
        MedvitError: the state belongs to a run with another description, or the folder cannot be written.
    """
    try:
        _prepare(work, args, description, resume)
    except OSError as error:
        raise MedvitError(
            f"{work.parent} cannot be written ({error.strerror or error}). Choose another --out."
        ) from error
    try:
        yield
    except MedvitError:
        if [path.name for path in work.glob("*")] == [NOTE]:
            shutil.rmtree(work, ignore_errors=True)
        raise


def _prepare(work: Path, args: TrainingArguments, description: dict[str, Any], resume: bool) -> None:
    note = work / NOTE
    if resume and note.is_file():
        if json.loads(note.read_text()) != description:
            raise MedvitError(
                f"{work} belongs to a run with other settings. Use the same ones, or leave out --resume."
            )
    elif args.process_index == 0:
        note.unlink(missing_ok=True)  # first, so that a half-deleted folder is not resumed from
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        with files.atomic_file(note) as file:
            file.write(json.dumps(description).encode())
    args.distributed_state.wait_for_everyone()


def already_exists(out: Path) -> MedvitError:
    """Return the error for a result that exists already."""
    return MedvitError(f"{out} exists already and is not overwritten. Choose another --out, or move it away.")
