"""Measure medvit against what people use today, both in the same run, taking turns.

medvit benchmark explain

Prints one JSON line for each measurement: name, value, unit, target, holds. A ratio is the median over all
pairs.

benchmarks:
  train     training speed, against PIL images and the Trainer's defaults
  explain   explanation maps, against a bare forward pass and pytorch-grad-cam
  ui        waiting times of the screens, over HTTP
  startup   time to the first page, against a bare Gradio program
  load      many users at once on a real server
  bulk      a folder of images, against the forward passes alone
  hostile   files and requests made to crash or exhaust the app
"""

import argparse
import importlib
import json

BENCHMARKS = ("train", "explain", "ui", "startup", "load", "bulk", "hostile")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the arguments of `medvit benchmark`; those of one benchmark are defined in its module."""
    parser.add_argument("benchmark", choices=BENCHMARKS, metavar="BENCHMARK", help="one of those above")
    parser.add_argument(
        "arguments",
        nargs=argparse.REMAINDER,
        metavar="...",
        help="its arguments; `medvit benchmark BENCHMARK --help` explains them",
    )


def run(args: argparse.Namespace) -> None:
    """Print the measurements of one benchmark as they come."""
    module = importlib.import_module(f"medvit.benchmarks.{args.benchmark}")
    parser = argparse.ArgumentParser(
        f"medvit benchmark {args.benchmark}", description=module.__doc__, allow_abbrev=False
    )
    module.add_arguments(parser)
    for measurement in module.measure(parser.parse_args(args.arguments)):
        print(json.dumps(measurement.to_json()), flush=True)
