"""Measure medvit against what people use today, both in the same run, alternating.

medvit benchmark explain

Prints one JSON line for each measurement: name, value, unit, target, holds. A ratio is the median over the pairs.
"""

import argparse
import importlib
import json

BENCHMARKS = {
    "train": "training speed, against PIL images and the Trainer's defaults",
    "explain": "explanations, against a bare forward pass and pytorch-grad-cam",
    "ui": "waiting times of the screens, over HTTP",
    "startup": "time to the first page, against a bare Gradio program",
    "load": "many users at once on a real server",
    "bulk": "a folder of images, against the forward passes alone",
    "hostile": "files made to exhaust memory or time",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define one subcommand for each benchmark."""
    commands = parser.add_subparsers(dest="benchmark", required=True, metavar="{" + ",".join(BENCHMARKS) + "}")
    for name, text in BENCHMARKS.items():
        module = importlib.import_module(f"medvit.benchmarks.{name}")
        module.add_arguments(commands.add_parser(name, help=text, description=module.__doc__))


def run(args: argparse.Namespace) -> None:
    """Print the measurements of one benchmark as they come."""
    for measurement in importlib.import_module(f"medvit.benchmarks.{args.benchmark}").measure(args):
        print(json.dumps(measurement.to_json()), flush=True)
