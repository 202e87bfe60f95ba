"""Speed of classifying a folder of image files, beside the model's forward passes alone."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

import medvit
from medvit.argument_types import at_least
from medvit.benchmarks.common import Measurement, alternate, ratio
from medvit.data import synthetic
from medvit.inference import bulk


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define the flags of `medvit benchmark bulk`."""
    add = parser.add_argument
    add("--subset", default="bloodmnist", help="[bloodmnist]")
    add("--models", nargs="+", default=["spt_lsa", "vit_finetuned"], metavar="MODEL", help="[%(default)s]")
    add(
        "--images",
        type=at_least(1),
        default=1024,
        metavar="N",
        help="synthetic PNG files of 28 pixels [1024]",
    )
    add("--rounds", type=at_least(1), default=5, help="[5]")


def measure(args: argparse.Namespace) -> Iterator[Measurement]:
    """Yield the rate from files to rows, and as a fraction of the forward passes' rate on the same pixels."""
    sys.setswitchinterval(5e-4)  # as the app and `medvit predict` do
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        sources = np.stack([synthetic.draw(args.subset, i) for i in range(args.images)])
        for i, source in enumerate(sources):
            Image.fromarray(source).save(folder / f"{i:05}.png")
        for model in args.models:
            predictor = medvit.load(args.subset, model)
            candidates = {
                "forward": partial(_forward, predictor, sources),
                "bulk": partial(_bulk, predictor, folder),
            }
            seconds = alternate(candidates, args.rounds, warm_up=1)
            label = f"bulk {args.subset}/{model}"
            fraction = ratio(seconds, "forward", "bulk")
            yield Measurement(f"{label}, fraction of the model's own rate", fraction, "", 0.9, at_least=True)
            yield Measurement(f"{label}, files", len(sources) / float(np.median(seconds["bulk"])), "1/s")


def _forward(predictor: medvit.Predictor, sources: np.ndarray) -> None:
    for start in range(0, len(sources), bulk.BATCH_SIZE):
        predictor.predict_many(list(sources[start : start + bulk.BATCH_SIZE]))


def _bulk(predictor: medvit.Predictor, folder: Path) -> None:
    with bulk.Reader() as reader:
        for _ in bulk.predict(predictor, bulk.list_files([folder]), reader):
            pass
