"""Put the app with its checkpoints on Hugging Face Spaces, and each checkpoint into a model repository.

    python scripts/publish.py --space OWNER/NAME --dry-run
    HF_TOKEN=... python scripts/publish.py --space OWNER/NAME
    HF_TOKEN=... python scripts/publish.py --models OWNER          one repository a checkpoint, with its card

What goes is what git tracks, without tests and pictures; --dry-run prints it, without network and token.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(REPOSITORY))

from medvit import MedvitError, checkpoint
from medvit.reliability import model_card

LEFT_OUT = re.compile(r"tests/|docs/|\.ci/|\.gitignore|requirements-dev\.txt|CONTRIBUTING\.md")
# ZeroGPU, the only hardware that a free account can choose, offers no newer torch for certain.
FOR_A_SPACE = {"torch": ">=2.11,<2.12", "torchvision": ">=0.26,<0.27"}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--space", metavar="OWNER/NAME", help="the Space to create or to update")
    add("--models", metavar="OWNER", help="whose model repositories to create or to update")
    add("--checkpoints", default=str(checkpoint.DEFAULT_ROOT), metavar="DIR", help="[the shipped ones]")
    add("--private", action="store_true", help="create them private")
    add("--dry-run", action="store_true", help="print what would go where, and send nothing")
    args = parser.parse_args()
    if not (args.space or args.models):
        parser.error("name a --space or an owner of --models")
    try:
        if not args.dry_run and not os.environ.get("HF_TOKEN"):
            raise MedvitError(
                "There is no token. Create one with write access on huggingface.co and set HF_TOKEN; it is "
                "read from the environment only."
            )
        if args.space:
            _send("space", args.space, space_files(), args)
        if args.models:
            found, problems = checkpoint.discover(args.checkpoints)
            for reason in problems.values():
                print(f"publish.py: left out: {reason}", file=sys.stderr)
            for one in found:
                name = f"{args.models}/medvit-{one.subset.name}-{one.model_name.replace('_', '-')}"
                _send("model", name, model_files(one), args)
    except MedvitError as error:
        sys.exit(f"publish.py: {error}")


def space_files() -> dict[str, Path | bytes]:
    """Path in the Space to a file or to its content."""
    command = ["git", "ls-files"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)  # noqa: S603
    if done.returncode:
        raise MedvitError(f"git does not say what belongs to the project: {done.stderr.strip()}.")
    files: dict[str, Path | bytes] = {
        name: REPOSITORY / name
        for name in done.stdout.splitlines()
        if not LEFT_OUT.match(name) and (REPOSITORY / name).is_file()
    }
    text = (REPOSITORY / "requirements.txt").read_text()
    for package, bounds in FOR_A_SPACE.items():
        text = re.sub(rf"^{package}[<>=].*$", package + bounds, text, flags=re.MULTILINE)
    return files | {"requirements.txt": text.encode()}


def model_files(found: checkpoint.Checkpoint) -> dict[str, Path | bytes]:
    """Path in the model repository to a file or to its content."""
    files: dict[str, Path | bytes] = {
        path.name: path for path in sorted(found.folder.iterdir()) if path.is_file()
    }
    return files | {"README.md": model_card.markdown(found).encode()}


def _send(kind: str, name: str, files: dict[str, Path | bytes], args: argparse.Namespace) -> None:
    sizes = {
        path: len(content) if isinstance(content, bytes) else content.stat().st_size
        for path, content in files.items()
    }
    print(f"{kind} {name}: {len(files)} files, {sum(sizes.values()) / 1e6:.1f} MB")
    for path, size in sizes.items():
        changed = " (made for it)" if isinstance(files[path], bytes) else ""
        print(f"  {size:>11,}  {path}{changed}")
    if args.dry_run:
        return
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError

    api = HfApi(token=os.environ["HF_TOKEN"])
    options = {"space_sdk": "gradio"} if kind == "space" else {}
    try:
        api.create_repo(name, repo_type=kind, private=args.private, exist_ok=True, **options)
        with tempfile.TemporaryDirectory() as folder:
            for path, content in files.items():
                target = Path(folder) / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
            done = api.upload_folder(
                repo_id=name, repo_type=kind, folder_path=folder, commit_message="Update medvit"
            )
    except (HfHubHTTPError, OSError) as error:
        raise MedvitError(f"{name} could not be sent: {str(error).splitlines()[0]}.") from error
    print(f"sent: {done}")


if __name__ == "__main__":
    os.environ.pop("HF_HUB_OFFLINE", None)
    main()
