"""How much of a model's own rate is left when it classifies a folder of pictures."""

import argparse
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

import medvit
from medvit.data import synthetic
from medvit.inference import bulk

from .common import Figure, alternate, ratio


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--subset", default="bloodmnist", help="[bloodmnist]")
    add("--models", nargs="+", default=["spt_lsa", "vit_finetuned"], metavar="MODEL", help="[%(default)s]")
    add("--pictures", type=int, default=1024, metavar="N", help="28-pixel PNG files, drawn [1024]")
    add("--rounds", type=int, default=5, help="[5]")


def measure(args: argparse.Namespace) -> Iterator[Figure]:
    """Whole files to rows, against the forward passes alone on the same pixels; in pairs, by turns."""
    sys.setswitchinterval(5e-4)  # as the app and predict.py do
    with tempfile.TemporaryDirectory() as folder:
        sources = np.stack([synthetic.draw(args.subset, i) for i in range(args.pictures)])
        for i, source in enumerate(sources):
            Image.fromarray(source).save(Path(folder) / f"{i:05}.png")
        for model in args.models:
            predictor = medvit.load(args.subset, model)

            def alone(predictor=predictor):
                for start in range(0, len(sources), bulk.BATCH_SIZE):
                    predictor.predict_many(sources[start : start + bulk.BATCH_SIZE])

            def whole(predictor=predictor):
                with bulk.Reader() as reader:
                    for _ in bulk.predict(predictor, bulk.list_files([Path(folder)]), reader):
                        pass

            seconds = alternate({"alone": alone, "whole": whole}, args.rounds, warm_up=1)
            name = f"batch {args.subset}/{model}"
            yield Figure(f"{name}, of the model's own rate", ratio(seconds, "alone", "whole"), "", 0.9, True)
            yield Figure(f"{name}, files", len(sources) / float(np.median(seconds["whole"])), "1/s")
