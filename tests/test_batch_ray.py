"""The batch on a local Ray of two workers gives the rows of the plain run."""

import csv
import shutil

import pytest
from PIL import Image

from medvit.data import synthetic

from .conftest import run_script


def by_engine(engine, pictures, out):
    return run_script(
        "predict.py", *pictures, "--subset", "breastmnist", "--model", "cnn", "--out", out,
        "--batch-size", "8", "--engine", engine, "--workers", "2",
    )  # fmt: skip


@pytest.fixture
def pictures(tmp_path):
    """A folder and a zip, a broken picture in both."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for i in range(30):
        Image.fromarray(synthetic.draw("breastmnist", i)).save(folder / f"{i:02}.png")
    (folder / "07b.png").write_bytes(b"broken")
    return folder, shutil.make_archive(str(tmp_path / "packed"), "zip", folder)


def test_ray_gives_the_rows_of_the_plain_run(pictures, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed (requirements-ray.txt)")
    tables = []
    for engine in ("plain", "ray"):
        done = by_engine(engine, pictures, tmp_path / f"{engine}.csv")
        assert done.returncode == 0, done.stderr
        with (tmp_path / f"{engine}.csv").open(newline="") as file:
            tables.append(list(csv.DictReader(file)))
    plain, ray = tables
    assert len(plain) == 62
    for one, other in zip(plain, ray, strict=True):
        assert float(other.pop("probability") or -1) == pytest.approx(
            float(one.pop("probability") or -1), abs=2e-4
        )
        assert other == one


def test_without_ray_the_command_says_how_to_get_it(pictures, tmp_path):
    try:
        import ray  # noqa: F401
    except ImportError:
        done = by_engine("ray", pictures, tmp_path / "out.csv")
        assert done.returncode == 1
        assert "requirements-ray.txt" in done.stderr
        assert "Traceback" not in done.stderr
        assert not (tmp_path / "out.csv").exists()
    else:
        pytest.skip("ray is installed")
