import json
import shutil

import pytest

from medvit import checkpoint
from medvit.errors import MedvitError
from medvit.training import sweep

TINY = "--set width=4 depths=[1,1,1,1]"


def test_the_first_seed_of_everything_comes_before_the_second_of_anything(tmp_path):
    combinations = sweep.combine(
        ["breastmnist", "retinamnist"], ["cnn", "vit_finetuned"], ["full", "rlrr"], [""]
    )
    jobs = sweep.plan(combinations, 2, tmp_path)
    assert [job.number for job in jobs] == [0] * 6 + [1] * 6
    assert [job.recipe for job in jobs[:3]] == ["cnn", "vit_finetuned", "vit_finetuned-strategy-rlrr"]
    assert len({job.result for job in jobs}) == len({job.log for job in jobs}) == 12


def test_a_large_test_split_needs_fewer_seeds(tmp_path):
    jobs = sweep.plan(sweep.combine(["bloodmnist", "retinamnist"], ["cnn"], ["full"], [""]), None, tmp_path)
    assert [(job.subset, job.number) for job in jobs[4:]] == [
        ("bloodmnist", 2), ("retinamnist", 2), ("retinamnist", 3), ("retinamnist", 4)
    ]  # fmt: skip


def test_variants_are_recipes_of_their_own_with_logs_of_their_own(tmp_path):
    variants = ["", "--set patch_dropout=0.5", "--set patch_dropout=0.25"]
    jobs = sweep.plan(
        sweep.combine(["breastmnist"], ["vit"], ["full"], variants), 1, tmp_path, ["--epochs=1"]
    )
    assert [job.recipe for job in jobs] == ["vit", "vit-set-patch_dropout-0.5", "vit-set-patch_dropout-0.25"]
    assert len({job.log for job in jobs}) == 3
    assert jobs[1].command[4:7] == ["--epochs=1", "--set", "patch_dropout=0.5"]


def test_folds_of_all_repeats_are_planned_for_every_variant(tmp_path):
    combinations = sweep.combine(["breastmnist"], ["cnn"], ["full"], ["", "--learning-rate 1e-4"])
    jobs = sweep.plan_folds(combinations, 5, 2, tmp_path)
    assert [job.number for job in jobs[::2]] == list(range(10))
    assert all(f"--fold={job.number}/5" in job.command for job in jobs)
    assert len({job.result for job in jobs}) == 20


@pytest.fixture
def finished(quick_train, tmp_path, monkeypatch):
    """The jobs of two seeds, whose predictions withstand JPEG, and their cards."""
    monkeypatch.setattr(sweep.robustness, "jpeg_agreement", lambda run, root: 1.0)
    jobs = sweep.plan(sweep.combine(["breastmnist"], ["cnn"], ["full"], [""]), 2, tmp_path)
    for job in jobs:
        quick_train("breastmnist", "cnn", job.result.parent, seed=job.number)
        job.state = "done"
    return jobs, [json.loads(job.result.read_text()) for job in jobs]


def test_a_sweep_is_summarised_and_the_lowest_validation_loss_exported(finished, synthetic_root, tmp_path):
    jobs, cards = finished
    (row,) = sweep.summary(jobs)
    accuracies = [card["test"]["accuracy"] for card in cards]
    losses = [card["validation"]["loss"] for card in cards]
    assert row["test_accuracy"] == pytest.approx(sum(accuracies) / 2)
    assert [job.number for job in row["ranked"]] == sorted((0, 1), key=lambda seed: losses[seed])
    assert f"{100 * accuracies[0]:.2f} {100 * accuracies[1]:.2f}" in sweep.report([row])

    worse = row | {"validation_loss": row["validation_loss"] + 1, "ranked": None}  # another recipe
    (folder,) = sweep.export([row, worse], tmp_path / "best", synthetic_root, trust=False)
    exported = checkpoint.load(folder)
    assert exported.card["sha256"] == cards[losses.index(min(losses))]["sha256"]
    assert [run["seed"] for run in exported.card["seeds"]] == [0, 1]


@pytest.mark.parametrize(("agreements", "place"), [([0.96, 0.98], 1), ([0.97, 1.0], 0), ([0.5, 0.6], 0)])
def test_the_exported_seed_withstands_jpeg_if_any_does(finished, tmp_path, monkeypatch, agreements, place):
    rows = sweep.summary(finished[0])
    ranked = [json.loads(job.result.read_text())["sha256"] for job in rows[0]["ranked"]]
    known = dict(zip(ranked, agreements, strict=True))
    monkeypatch.setattr(sweep.robustness, "jpeg_agreement", lambda run, root: known[run.card["sha256"]])
    (folder,) = sweep.export(rows, tmp_path / "best", trust=False)
    assert checkpoint.load(folder).card["sha256"] == ranked[place]


def test_export_replaces_runs_of_the_same_sweep_alone(finished, synthetic_root, tmp_path):
    jobs, _ = finished
    rows = sweep.summary(jobs)
    sweep.export(sweep.summary(jobs[:1]), tmp_path / "best", synthetic_root, trust=False)
    (folder,) = sweep.export(rows, tmp_path / "best", synthetic_root, trust=False)
    assert len(checkpoint.load(folder).card["seeds"]) == 2
    with pytest.raises(MedvitError, match="not overwritten"):
        sweep.export([rows[0] | {"weights": set()}], tmp_path / "best", synthetic_root, trust=False)


@pytest.mark.parametrize("kept", [0, 1])
def test_seeds_are_added_to_a_checkpoint(finished, synthetic_root, quick_train, tmp_path, kept):
    """Those in its card are not trained again, and the lowest validation loss of old and new is exported."""
    jobs, cards = finished
    combinations = sweep.combine(["breastmnist"], ["cnn"], ["full"], [""])
    published = tmp_path / "published"
    folder = shutil.copytree(jobs[kept].result.parent, published / "breastmnist" / "cnn")
    both = [run for card in cards for run in card["seeds"]]
    checkpoint.write_card(folder, cards[kept] | {"seeds": both})

    planned = sweep.plan(combinations, 3, tmp_path / "more", extended=published)
    assert [job.number for job in planned] == [kept, 2]
    assert planned[0].result == folder / "card.json"
    fewer = sweep.plan(combinations, 1, tmp_path / "more", extended=published)
    assert [(job.number, job.result) for job in fewer] == [(kept, folder / "card.json")]
    new = quick_train("breastmnist", "cnn", planned[1].result.parent, seed=2)
    for job in planned:
        job.state = "done"
    (row,) = sweep.summary(planned)
    card = json.loads((new / "card.json").read_text())
    accuracies = [run["test_accuracy"] for run in [*both, *card["seeds"]]]
    assert (row["seeds"], row["test_accuracy"]) == (3, pytest.approx(sum(accuracies) / 3))
    (exported,) = sweep.export([row], tmp_path / "best", synthetic_root, trust=False)
    best = min(cards[kept], card, key=lambda card: card["validation"]["loss"])
    written = checkpoint.load(exported).card
    assert (written["seed"], [run["seed"] for run in written["seeds"]]) == (best["seed"], [0, 1, 2])


def test_a_checkpoint_of_several_trainings_has_no_seed_to_keep(finished, tmp_path):
    jobs, cards = finished
    folder = shutil.copytree(jobs[0].result.parent, tmp_path / "published" / "breastmnist" / "cnn")
    checkpoint.write_card(folder, {key: value for key, value in cards[0].items() if key != "command"})
    combinations = sweep.combine(["breastmnist"], ["cnn"], ["full"], [""])
    planned = sweep.plan(combinations, 2, tmp_path / "more", extended=tmp_path / "published")
    assert [job.result.parts[-4] for job in planned] == ["seed0", "seed1"]


def test_a_reproduction_runs_the_commands_of_the_cards(finished, tmp_path):
    jobs, cards = finished
    root = tmp_path / "checkpoints"
    shutil.copytree(jobs[0].result.parent, root / "breastmnist" / "cnn")
    without = shutil.copytree(jobs[1].result.parent, root / "breastmnist" / "another")
    (without / "card.json").write_text(json.dumps({k: v for k, v in cards[1].items() if k != "command"}))
    checkpoints, problems = checkpoint.discover(root)
    assert not problems
    (job,) = sweep.plan_reproduction(checkpoints, tmp_path / "again", ["--engine=eager"])
    assert job.result == tmp_path / "again" / "breastmnist" / "cnn" / "card.json"
    assert {"--seed=0", "--resume", "--engine=eager"} <= set(job.command)
    assert job.command[-3] == f"--out={job.result.parent}"  # whatever the card says
