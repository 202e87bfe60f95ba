"""Upload the app with its checkpoints to a Hugging Face Space, and each checkpoint to a model repository.

medvit publish --space OWNER/NAME --dry-run
HF_TOKEN=... medvit publish --space OWNER/NAME
HF_TOKEN=... medvit publish --models OWNER          one repository a checkpoint, with its card

Uploads what git tracks, without the tests; --dry-run lists it, without network and token. With --checkpoints,
the app there has these checkpoints in place of the shipped ones.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from huggingface_hub import HfApi

from medvit import checkpoint
from medvit.checkpoint import Checkpoint
from medvit.errors import MedvitError, first_line
from medvit.evaluation import model_card

CLONE = Path(__file__).resolve().parents[2]
LEFT_OUT = re.compile(
    r"tests/|\.ci/|\.github/|\.gitignore|\.pre-commit|Dockerfile|\.dockerignore|requirements-(dev|ray)\.txt"
)
SHIPPED = re.compile(r"checkpoints/[^_/]+/")  # the OOD reference model, which all checkpoints need, stays
# ZeroGPU, the only hardware that a free account can choose, guarantees no newer torch.
SPACE_VERSIONS = {"torch": ">=2.11,<2.12", "torchvision": ">=0.26,<0.27"}
Files = Mapping[str, Path | bytes]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit publish`."""
    add = parser.add_argument
    add("--space", metavar="OWNER/NAME", help="the Space to create or to update")
    add("--models", metavar="OWNER", help="create or update one model repository a checkpoint, of this owner")
    add(
        "--checkpoints",
        metavar="DIR",
        help="folder of checkpoints, <DIR>/<subset>/<model> [the shipped ones]",
    )
    add("--private", action="store_true", help="create them private")
    add("--dry-run", action="store_true", help="list the files, and upload nothing")


def run(args: argparse.Namespace) -> None:
    """Upload to the Space, to the model repositories, or both."""
    if not (args.space or args.models):
        raise MedvitError("Name a --space, or an owner of --models.")
    if not args.dry_run and not os.environ.get("HF_TOKEN"):
        raise MedvitError(
            "There is no token. Create one with write access on huggingface.co and set HF_TOKEN; it is "
            "read from the environment only."
        )
    if args.space:
        own = _discover(args.checkpoints) if args.checkpoints else ()
        _publish("space", args.space, space_files(own), args)
    if args.models:
        for item in _discover(args.checkpoints):
            name = f"{args.models}/medvit-{item.dataset.name}-{item.model_name.replace('_', '-')}"
            _publish("model", name, model_files(item), args)


def _discover(root: str | None) -> list[Checkpoint]:
    checkpoints, problems = checkpoint.discover(root)
    for reason in problems.values():
        print(f"medvit publish: left out: {reason}", file=sys.stderr)
    if not checkpoints:
        raise MedvitError(f"There is no usable checkpoint below {root or checkpoint.DEFAULT_ROOT}.")
    return checkpoints


def space_files(checkpoints: Sequence[Checkpoint] = ()) -> Files:
    """Path in the Space to a file, or to its content.

    Args:
        checkpoints: in place of the shipped ones.

    Raises:
        MedvitError: medvit does not run from a git clone.
    """
    command = ["git", "ls-files"]
    done = subprocess.run(command, cwd=CLONE, capture_output=True, text=True)  # noqa: S603
    if done.returncode or "app.py" not in done.stdout.splitlines():
        raise MedvitError(
            "A Space gets the files of a git clone, and medvit does not run from one. Clone the repository, "
            "and start this command there."
        )
    files: dict[str, Path | bytes] = {
        name: CLONE / name
        for name in done.stdout.splitlines()
        if not LEFT_OUT.match(name) and (CLONE / name).is_file()
    }
    text = (CLONE / "requirements.txt").read_text()
    for package, bounds in SPACE_VERSIONS.items():
        text = re.sub(rf"^{package}[<>=].*$", package + bounds, text, flags=re.MULTILINE)
    files["requirements.txt"] = text.encode()
    if checkpoints:
        files = {path: content for path, content in files.items() if not SHIPPED.match(path)}
    for item in checkpoints:
        folder = f"checkpoints/{item.dataset.name}/{item.model_name}"
        files |= {f"{folder}/{path}": content for path, content in model_files(item).items()}
    return files


def model_files(item: Checkpoint) -> Files:
    """Path in the model repository to a file, or to its content."""
    files: dict[str, Path | bytes] = {
        path.name: path for path in sorted(item.folder.iterdir()) if path.is_file()
    }
    return files | {"README.md": model_card.markdown(item).encode()}


def _publish(kind: str, name: str, files: Files, args: argparse.Namespace) -> None:
    """List the files, and unless it is a dry run upload them to one repository."""
    _print_list(kind, name, files)
    if args.dry_run:
        return
    try:
        url = _upload(kind, name, files, args.private)
    except Exception as error:  # what the client of the hub raises depends on its version
        raise MedvitError(f"{name} could not be uploaded: {first_line(error)}.") from error
    print(f"uploaded: {url}")


def _print_list(kind: str, name: str, files: Files) -> None:
    sizes = {
        path: len(content) if isinstance(content, bytes) else content.stat().st_size
        for path, content in files.items()
    }
    print(f"{kind} {name}: {len(files)} files, {sum(sizes.values()) / 1e6:.1f} MB")
    for path, size in sizes.items():
        print(f"  {size:>11,}  {path}{' (generated)' if isinstance(files[path], bytes) else ''}")


def _upload(kind: str, name: str, files: Files, private: bool) -> str:
    """Create the repository where it is missing, make these its files, and return its address."""
    api = HfApi(token=os.environ["HF_TOKEN"])
    sdk = "gradio" if kind == "space" else None
    api.create_repo(name, repo_type=kind, private=private, exist_ok=True, space_sdk=sdk)
    with tempfile.TemporaryDirectory() as folder:
        for path, content in files.items():
            target = Path(folder) / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        return str(
            api.upload_folder(
                repo_id=name,
                repo_type=kind,
                folder_path=folder,
                commit_message="Update medvit",
                delete_patterns="*",  # what an earlier version had
            )
        )
