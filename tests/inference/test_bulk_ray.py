"""`medvit predict --engine ray` on a local Ray with two workers gives the rows of the plain engine."""

import csv
import importlib.util
import shutil

import pytest
from PIL import Image

from medvit.data import synthetic
from tests.conftest import run_command

HAS_RAY = importlib.util.find_spec("ray") is not None


def predict(engine, pictures, trained, out):
    return run_command(
        "predict", *pictures, "--subset", "breastmnist", "--model", "spt_lsa", "--checkpoints", trained,
        "--out", out, "--batch-size", "8", "--engine", engine, "--workers", "2",
    )  # fmt: skip


@pytest.fixture
def pictures(tmp_path):
    """A folder and a zip, a broken picture in both."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(12):
        Image.fromarray(synthetic.draw("breastmnist", i)).save(folder / f"{i:02}.png")
    (folder / "07b.png").write_bytes(b"broken")
    return folder, shutil.make_archive(str(tmp_path / "packed"), "zip", folder)


@pytest.mark.slow
@pytest.mark.skipif(not HAS_RAY, reason="ray is not installed (requirements-ray.txt)")
def test_ray_gives_the_rows_of_the_plain_engine(pictures, trained, tmp_path):
    tables = []
    for engine in ("plain", "ray"):
        done = predict(engine, pictures, trained, tmp_path / f"{engine}.csv")
        assert done.returncode == 0, done.stderr
        with (tmp_path / f"{engine}.csv").open(newline="") as file:
            tables.append(list(csv.DictReader(file)))
    plain_rows, ray_rows = tables
    assert len(plain_rows) == 26
    for plain, ray in zip(plain_rows, ray_rows, strict=True):
        assert float(ray.pop("probability") or -1) == pytest.approx(
            float(plain.pop("probability") or -1), abs=2e-4
        )
        assert ray == plain


@pytest.mark.skipif(HAS_RAY, reason="ray is installed")
def test_without_ray_the_command_says_how_to_get_it(pictures, trained, tmp_path):
    done = predict("ray", pictures, trained, tmp_path / "out.csv")
    assert done.returncode == 1
    assert "requirements-ray.txt" in done.stderr
    assert not (tmp_path / "out.csv").exists()
