"""Coverage-guided fuzzing of the decoders; needs `pip install atheris`. Not collected by pytest.

    python -m tests.imaging.fuzz FOLDER -max_total_time=300 -timeout=60 -rss_limit_mb=1500

starts from the files in FOLDER, which it first fills with the small hostile files if it is empty.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["PIL", "medvit.imaging"]):
    from medvit import imaging, limits
    from medvit.errors import MedvitError

from medvit.benchmarks import hostile_files

limits.IMAGE_PIXELS = 1_000_000  # for more inputs per second; the limit itself has a test of its own


def open_input(data: bytes) -> None:
    """Open one input; every exception but MedvitError is a bug."""
    try:
        imaging.to_source(imaging.open_image(data))
    except MedvitError as error:
        assert str(error).endswith("."), error


if __name__ == "__main__":
    seeds = Path(sys.argv[1])
    seeds.mkdir(exist_ok=True)
    if not any(seeds.iterdir()):
        for number, (_, content) in enumerate(hostile_files.small()):
            (seeds / f"seed-{number}").write_bytes(content)
    atheris.Setup(sys.argv, open_input)
    atheris.Fuzz()
