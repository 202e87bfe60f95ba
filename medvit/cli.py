"""The command `medvit`: parse the arguments, import the one subcommand that was named, and run it."""

import argparse
import importlib
import os
import sys
from collections.abc import Sequence

from medvit import MedvitError, __version__

COMMANDS = {
    "app": "open the demo in a browser",
    "download": "fetch MedMNIST archives and check their md5",
    "train": "train one model and write a checkpoint folder",
    "evaluate": "recompute the test metrics of checkpoints from their weights",
    "predict": "classify folders, files or zips of images into one CSV",
    "sweep": "train many models and seeds, and keep the best on validation",
    "explain": "draw the explanation maps of pictures, for any image classifier",
    "faithfulness": "measure how faithful the explanation maps of checkpoints are",
    "train-ood-reference": "train the small model behind the out-of-distribution scores",
    "reader-study": "score how people decide with and without the model",
    "cards": "write the model card, README.md, of each checkpoint",
    "tables": "rewrite the generated tables of README.md",
    "publish": "upload the app to a Hugging Face Space, and checkpoints to the hub",
    "benchmark": "measure speed and memory against a reference",
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run `medvit ARGV` and return the exit status.

    A MedvitError, and a file that the system refuses, become one sentence on stderr.
    """
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    command, arguments = _parse_command(argv)
    module = importlib.import_module(f"medvit.commands.{command.replace('-', '_')}")
    parser = argparse.ArgumentParser(
        f"medvit {command}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,  # a short form of one option may be another one, of `medvit train`
    )
    module.add_arguments(parser)
    args, unknown = parser.parse_known_args(arguments)
    if hasattr(args, "unknown"):  # a command with this default takes any further options
        args.unknown = unknown
    elif unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}")
    try:
        status = module.run(args) or 0
        sys.stdout.flush()
        return status
    except KeyboardInterrupt:
        print(f"medvit {command}: interrupted", file=sys.stderr)
        return 130  # as a shell has it: 128 + SIGINT
    except MedvitError as error:
        problem = str(error)
    except BrokenPipeError:
        if not _output_is_closed():
            raise
        return 141  # 128 + SIGPIPE
    except OSError as error:
        if error.filename is None:
            raise
        problem = f"{error.filename}: {error.strerror}."
    print(f"medvit {command}: {problem}", file=sys.stderr)
    return 1


def _output_is_closed() -> bool:
    """Whether the reader of the output, such as `head`, has left; what is still to come then goes nowhere."""
    try:
        print(flush=True)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return True
    return False


def _parse_command(argv: Sequence[str] | None) -> tuple[str, list[str]]:
    """The name of the subcommand, and its arguments."""
    width = max(map(len, COMMANDS)) + 2
    parser = argparse.ArgumentParser(
        "medvit",
        description="Train Vision Transformers on MedMNIST images, and look inside them. Not for diagnosis.",
        epilog="commands:\n"
        + "\n".join(f"  {name:{width}}{text}" for name, text in COMMANDS.items())
        + "\n\n`medvit COMMAND --help` explains one of them.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"medvit {__version__}")
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of those below")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...", help="its arguments")
    args = parser.parse_args(argv)
    return args.command, args.arguments
