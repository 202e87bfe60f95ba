import csv
import json
import shutil

import pytest
from PIL import Image

from medvit import checkpoint
from medvit.commands.train import describe_run, parse
from medvit.data import medmnist, synthetic
from medvit.data.folder import open_dataset

from ..conftest import run_command

TINY = ("--epochs", "1", "--batch-size", "16", "--set", "width=4")


def test_a_sweep_trains_reports_and_exports(synthetic_root, tmp_path):
    arguments = (
        "sweep", "--subsets", "breastmnist", "--models", "cnn", "--seeds", "1",
        "--out", tmp_path / "runs", "--export", tmp_path / "best", "--report", tmp_path / "report.md",
        "--data-root", synthetic_root, "--no-trust", *TINY,
    )  # fmt: skip
    done = run_command(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    exported = checkpoint.load(tmp_path / "best" / "breastmnist" / "cnn")
    assert [run["seed"] for run in exported.card["seeds"]] == [0]
    assert "| breastmnist | cnn | 1 |" in (tmp_path / "report.md").read_text()
    assert run_command(*arguments).returncode == 0  # nothing is trained again


def sweep_of(tmp_path, *options):
    """A sweep whose only run was trained before, in two epochs, with `medvit train`."""
    args = parse(["--subset", "breastmnist", "--model", "spt_lsa", "--epochs", "2"])
    metrics = dict(accuracy=0.8, auc=0.9, loss=0.4)
    card = describe_run(args, medmnist.get("breastmnist")) | {"validation": metrics, "test": metrics}
    folder = tmp_path / "seed0" / "breastmnist" / "spt_lsa"
    folder.mkdir(parents=True)
    seeds = [
        {"seed": 0} | {f"{split}_{key}": metrics[key] for split in ("validation", "test") for key in metrics}
    ]
    (folder / "card.json").write_text(json.dumps(card | dict(seconds=1.0, sha256="0" * 64, seeds=seeds)))
    names = ("--subsets", "breastmnist", "--models", "spt_lsa", "--seeds", "1", "--out", tmp_path)
    return run_command("sweep", *names, "--budget-minutes", "0", *options)


def test_a_run_of_the_same_settings_is_a_result_of_the_sweep(tmp_path):
    done = sweep_of(tmp_path, "--epochs", "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "| breastmnist | spt_lsa | 1 |" in done.stdout


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ((), "epochs"),
        (("--epochs", "2", "--set", "ema=0.5", "jpeg=0.25"), "ema, augmentation"),
        (("--epochs", "2", "--size", "64"), "source_size, image_size"),
    ],
)
def test_a_result_of_other_settings_is_refused(tmp_path, options, names):
    done = sweep_of(tmp_path, *options)
    card = tmp_path / "seed0" / "breastmnist" / "spt_lsa" / "card.json"
    problem = (
        f"{card} is of a run with other settings ({names}). Choose another --out or --extend, or move it "
        "away."
    )
    assert (done.returncode, done.stderr) == (1, f"medvit sweep: {problem}\n")
    assert "| breastmnist" not in done.stdout


def test_a_fold_of_other_pictures_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDVIT_CACHE", str(tmp_path / "cache"))
    scans = synthetic.write_pictures(tmp_path / "scans", each=8)
    options = ("--size", "32", "--epochs", "1")
    args = parse(["--data", str(scans), "--model", "cnn", "--fold", "0/2", *options])
    facts = describe_run(args, open_dataset(scans, 32))
    metrics = dict(loss=0.5, calibrated_loss=0.5, auc=0.8, accuracy=0.7, date="2025-01-01")
    file = tmp_path / "runs" / "folds2" / "scans" / "cnn" / "fold0.json"
    file.parent.mkdir(parents=True)
    file.write_text(json.dumps(facts | metrics))
    command = ("sweep", "--cross-validate", "2", "--data", scans, "--models", "cnn", *options)
    command += ("--budget-minutes", "0", "--out", tmp_path / "runs")
    done = run_command(*command)
    assert (done.returncode, done.stderr) == (0, "")
    assert "scans cnn : log-loss 0.5000" in done.stdout
    Image.new("RGB", (40, 40), "red").save(scans / "fundus" / "picture 0.png")
    assert "fold0.json is of a run with other settings (dataset)." in run_command(*command).stderr


@pytest.mark.slow
def test_cross_validation_compares_variants(synthetic_root, tmp_path):
    done = run_command(
        "sweep", "--cross-validate", "2", "--subsets", "breastmnist", "--models", "cnn",
        "--variants", "", "--learning-rate 1e-5", "--jobs", "2", "--out", tmp_path / "runs",
        "--report", tmp_path / "cv.csv", "--data-root", synthetic_root, *TINY,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    with (tmp_path / "cv.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["variant"], row["folds"]) for row in rows] == [("", "2"), ("--learning-rate 1e-5", "2")]
    assert "difference from the first: log-loss" in done.stdout


def test_reproduce_prints_the_command_of_each_card(trained, tmp_path):
    source = trained / "breastmnist" / "spt_lsa"
    shutil.copytree(source, tmp_path / "breastmnist" / "spt_lsa")
    without = shutil.copytree(source, tmp_path / "breastmnist" / "vit")
    card = json.loads((without / "card.json").read_text())
    del card["command"]
    (without / "card.json").write_text(json.dumps(card | {"model": "vit"}))
    done = run_command("sweep", "--reproduce", tmp_path)
    assert done.returncode == 0
    assert "medvit train --subset breastmnist --model spt_lsa --seed 0 --epochs 2\n" in done.stdout
    assert "# breastmnist/vit: not reproducible by one command" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--run",), "--run belongs to --reproduce"),
        (("--extend", "nowhere"), "There is no folder nowhere."),
        (("--extend", ".", "--cross-validate", "2"), "--extend has no meaning with --cross-validate."),
        (("--seeds", "2", "--cross-validate", "2"), "--seeds has no meaning with --cross-validate."),
        (("--export", "best", "--reproduce", "."), "--export has no meaning with --reproduce."),
        (("--repeats", "2"), "--repeats belongs to --cross-validate K."),
        (("--seed", "3"), "A sweep sets --seed of its runs itself. Name their number with --seeds."),
        (("--report", "."), ". is a folder. Name a file with --report."),
        (("--epoch", "3"), "`medvit train` does not take these options: unrecognized arguments: --epoch 3."),
        (("--set", "warmup=much"), "warmup"),
    ],
)
def test_a_mistake_is_one_sentence_and_a_status(arguments, message):
    done = run_command("sweep", *arguments)
    assert done.returncode == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    ("arguments", "minimum"), [(("--jobs", "0"), 1), (("--cross-validate", "1"), 2), (("--seeds", "x"), 1)]
)
def test_a_number_that_is_too_small_is_refused(arguments, minimum):
    done = run_command("sweep", *arguments)
    problem = (
        f"argument {arguments[0]}: it must be a whole number of at least {minimum}, not {arguments[1]!r}\n"
    )
    assert (done.returncode, done.stderr.endswith(problem)) == (2, True)


def test_what_cannot_be_reported_or_written_is_refused_before_the_training(tmp_path):
    table = tmp_path / "table.csv"
    table.write_text("a,b\n")
    out = tmp_path / "runs"
    done = run_command("sweep", "--cross-validate", "2", "--report", table, "--out", out)
    assert (done.returncode, "other columns" in done.stderr, out.exists()) == (1, True, False)
    done = run_command("sweep", "--out", table / "runs")
    assert (done.returncode, done.stderr) == (
        1,
        f"medvit sweep: {table / 'runs'} cannot be written (Not a directory). Choose another --out.\n",
    )


def test_reproduce_takes_the_checkpoints_that_are_named():
    done = run_command(
        "sweep", "--reproduce", checkpoint.DEFAULT_ROOT, "--subsets", "retinamnist", "--models", "vit"
    )
    (line,) = [line for line in done.stdout.splitlines() if not line.startswith("#")]
    assert line.startswith("medvit train --subset retinamnist --model vit --seed ")
    done = run_command("sweep", "--reproduce", checkpoint.DEFAULT_ROOT, "--subsets", "dermamnist")
    problem = f"There is no usable checkpoint below {checkpoint.DEFAULT_ROOT} for dermamnist."
    assert (done.returncode, done.stderr) == (1, f"medvit sweep: {problem}\n")


def test_a_folder_without_checkpoints_is_one_sentence(tmp_path):
    done = run_command("sweep", "--reproduce", tmp_path / "nowhere")
    problem = f"There is no usable checkpoint below {tmp_path / 'nowhere'}."
    assert (done.returncode, done.stderr) == (1, f"medvit sweep: {problem}\n")
