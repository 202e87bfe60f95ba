import json

import numpy as np
import pytest

from medvit import checkpoint
from medvit.errors import MedvitError
from medvit.evaluation import report
from medvit.evaluation.model_card import markdown
from medvit.training import sweep
from medvit.ui import parts


def options(synthetic_root):
    return ["--data-root", str(synthetic_root), "--epochs", "1", "--batch-size", "16"]


def test_the_first_seed_of_everything_comes_before_the_second_of_anything(tmp_path):
    jobs = sweep.plan(["breastmnist", "retinamnist"], ["cnn", "vit_finetuned"], ["full", "rlrr"], 2, tmp_path)
    assert [job.seed for job in jobs] == [0] * 6 + [1] * 6
    assert [job.recipe[1] for job in jobs[:3]] == ["cnn", "vit_finetuned", "vit_finetuned-rlrr"]
    assert len({job.out for job in jobs}) == 12


def test_a_campaign_runs_goes_on_and_exports_the_best_on_validation(synthetic_root, tmp_path):
    jobs = sweep.plan(["breastmnist"], ["cnn"], ["full"], 2, tmp_path / "runs")
    sweep.run(jobs, options(synthetic_root), at_once=2, budget_seconds=1800)
    assert [job.state for job in jobs] == ["done", "done"]
    again = sweep.plan(["breastmnist"], ["cnn"], ["full"], 2, tmp_path / "runs")
    sweep.run(again, ["--no-such-option"], at_once=2, budget_seconds=1800)  # nothing is started
    assert [job.state for job in again] == ["done", "done"]

    (row,) = sweep.summary(again)
    cards = [json.loads((job.out / "card.json").read_text()) for job in jobs]
    accuracies = [card["test"]["accuracy"] for card in cards]
    assert row["test_accuracy"] == pytest.approx(sum(accuracies) / 2)
    validations = [(card["validation"]["accuracy"], -card["validation"]["loss"]) for card in cards]
    assert row["best"].seed == validations.index(max(validations))

    assert f"{100 * accuracies[0]:.2f} {100 * accuracies[1]:.2f}" in sweep.report([row])

    assert not any((job.out / "trust.npz").exists() for job in jobs)
    sweep.export([row], tmp_path / "best", synthetic_root)
    found = checkpoint.load(tmp_path / "best" / "breastmnist" / "cnn")
    assert found.trust is not None
    assert [seed["seed"] for seed in found.card["seeds"]] == [0, 1]
    mean, spread = np.mean(accuracies), abs(accuracies[0] - accuracies[1]) / 2**0.5
    line = report.csv_row(found, found.card["test"])
    assert (line["seeds"], line["seeds_mean"], line["seeds_sd"]) == pytest.approx((2, mean, spread))
    assert f"mean {mean:.3f}, standard deviation {spread:.3f}." in markdown(found)
    assert f"2 seeds {mean:.1%} ± {spread:.1%}." in parts.model_card(found)
    first_seed_alone = sweep.summary(again[:1])
    # A campaign that went on replaces its own.
    sweep.export(first_seed_alone + [row], tmp_path / "best", trust=False)
    with pytest.raises(MedvitError, match="not overwritten"):
        sweep.export([row | {"weights": set()}], tmp_path / "best")
    found = checkpoint.load(tmp_path / "best" / "breastmnist" / "cnn")
    assert found.card["sha256"] in row["weights"]
    assert found.trust is None


def test_a_failing_job_is_reported_and_stops_nothing(synthetic_root, tmp_path):
    jobs = sweep.plan(["bloodmnist", "breastmnist"], ["cnn"], ["full"], 1, tmp_path / "runs")
    jobs[0].subset = "nomnist"
    sweep.run(jobs, options(synthetic_root), at_once=1, budget_seconds=1800)
    assert [job.state for job in jobs] == ["failed", "done"]
    assert jobs[0].tries == 2
    assert "nomnist" in jobs[0].note


def test_a_job_that_is_killed_is_started_again(synthetic_root, tmp_path):
    def kill_once(jobs):
        if jobs[0].tries == 1 and jobs[0].process:
            jobs[0].process.kill()

    jobs = sweep.plan(["breastmnist"], ["cnn"], ["full"], 1, tmp_path / "runs")
    sweep.run(jobs, options(synthetic_root), at_once=1, budget_seconds=1800, show=kill_once)
    assert (jobs[0].state, jobs[0].tries) == ("done", 2)


def test_when_the_time_is_up_nothing_is_left_running(synthetic_root, tmp_path):
    jobs = sweep.plan(["breastmnist"], ["cnn"], ["full"], 2, tmp_path / "runs")
    sweep.run(jobs, options(synthetic_root), at_once=1, budget_seconds=0.1)
    assert [job.state for job in jobs] == ["out of time", "out of time"]
    assert all(job.process is None or job.process.poll() is not None for job in jobs)


def test_a_large_test_split_needs_fewer_seeds(tmp_path):
    jobs = sweep.plan(["bloodmnist", "retinamnist"], ["cnn"], ["full"], None, tmp_path)
    assert [(job.subset[:5], job.seed) for job in jobs[4:]] == [
        ("blood", 2), ("retin", 2), ("retin", 3), ("retin", 4)
    ]  # fmt: skip


def test_a_variant_is_a_recipe_of_its_own(synthetic_root, tmp_path):
    variants = ["--set width=8", "--set width=4"]
    jobs = sweep.plan(["breastmnist"], ["cnn"], ["full"], 1, tmp_path / "runs", variants)
    assert [job.recipe[1] for job in jobs] == ["cnn-set-width-8", "cnn-set-width-4"]
    sweep.run(jobs, options(synthetic_root), at_once=2, budget_seconds=1800)
    assert [job.state for job in jobs] == ["done", "done"]
    rows = sweep.summary(jobs)
    assert [checkpoint.load(job.out).model.config.width for job in jobs] == [8, 4]
    # One model, so one folder: the better recipe.
    (folder,) = sweep.export(rows, tmp_path / "best", trust=False)
    better = max(rows, key=lambda row: row["validation_accuracy"])
    assert checkpoint.load(folder).card["recipe"]["config"] in ({"width": 8}, {"width": 4})
    assert checkpoint.load(folder).card["validation"]["accuracy"] == better["validation_accuracy"]
