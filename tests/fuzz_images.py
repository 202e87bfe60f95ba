"""Coverage-guided fuzzing of what opens uploads; needs `pip install atheris`. Not collected by pytest.

    python -m tests.fuzz_images FOLDER -max_total_time=300 -timeout=60 -rss_limit_mb=1500

fills FOLDER with the small hostile files as seeds where it is empty, and goes on from what it finds there.
"""

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["PIL", "medvit.imaging"]):
    from medvit import imaging
    from medvit.errors import MedvitError

from tests import hostile

imaging.MAX_PIXELS = 1_000_000  # more inputs a second; the size itself is tested elsewhere


def one_input(data: bytes) -> None:
    """Anything but a picture or a MedvitError is a finding."""
    try:
        imaging.to_source(imaging.open_image(data))
    except MedvitError as error:
        assert str(error).endswith("."), error


if __name__ == "__main__":
    seeds = Path(sys.argv[1])
    seeds.mkdir(exist_ok=True)
    if not any(seeds.iterdir()):
        for number, (_, content) in enumerate(hostile.small()):
            (seeds / f"seed-{number}").write_bytes(content)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()
