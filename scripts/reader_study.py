"""`medvit reader-study`, from a clone in which the package is not installed."""

import runpy
import sys
from pathlib import Path

sys.argv.insert(1, "reader-study")
runpy.run_path(str(Path(__file__).resolve().parents[1]), run_name="__main__")
