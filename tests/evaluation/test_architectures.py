"""The table that compares architectures: only at equal budget, paired over seeds."""

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from medvit.evaluation.architectures import ablation_table, comparison_table, paired_difference, same_budget
from tests.conftest import SHIPPED

RECIPE = {"epochs": 5, "learning_rate": 1e-3, "image_size": 28, "mixup": 0.2}


def breast_models(accuracies, recipes=None):
    """The three models of BreastMNIST from scratch, their cards with these test accuracies of each seed."""
    models = []
    for name, values in accuracies.items():
        shipped = next(c for c in SHIPPED if c.dataset.name == "breastmnist" and c.model_name == name)
        seeds = [{"seed": i, "test_accuracy": value, "test_auc": 0.9} for i, value in enumerate(values)]
        recipe = (recipes or {}).get(name, RECIPE)
        models.append(replace(shipped, card=shipped.card | {"recipe": recipe, "seeds": seeds}))
    return models


def test_only_learning_rate_and_input_size_may_differ_between_recipes_of_equal_budget():
    assert same_budget([RECIPE, RECIPE | {"learning_rate": 5e-4, "image_size": 32}])
    assert not same_budget([RECIPE, RECIPE | {"epochs": 6}])


def test_the_interval_of_a_paired_difference_is_that_of_the_paired_t_test():
    values, reference = [0.86, 0.84, 0.87, 0.83], [0.85, 0.80, 0.86, 0.84]
    mean, low, high = paired_difference(values, reference)
    interval = stats.ttest_rel(values, reference).confidence_interval(0.95)
    assert mean == pytest.approx(np.subtract(values, reference).mean())
    assert (low, high) == pytest.approx((interval.low, interval.high))


def test_a_constant_difference_has_an_interval_without_width():
    assert paired_difference([0.75, 0.5], [0.5, 0.25]) == (0.25, 0.25, 0.25)


def test_a_dataset_with_one_recipe_and_the_same_seeds_has_a_row():
    models = breast_models({"cnn": [0.80, 0.82], "vit": [0.78, 0.80], "spt_lsa": [0.81, 0.83]})
    row = comparison_table(models).splitlines()[2]
    assert row.startswith("| BreastMNIST | 5 | 2 | 81.0 ± 1.4, AUC 0.900 | 79.0 ± 1.4")
    assert row.endswith("| +3.0 (+3.0 to +3.0) | +1.0 (+1.0 to +1.0) |")


def test_seeds_that_not_all_models_have_do_not_count():
    models = breast_models({"cnn": [0.80, 0.82, 0.1], "vit": [0.78, 0.80], "spt_lsa": [0.81, 0.83, 0.9]})
    expected = breast_models({"cnn": [0.80, 0.82], "vit": [0.78, 0.80], "spt_lsa": [0.81, 0.83]})
    assert comparison_table(models) == comparison_table(expected)


def test_a_single_seed_has_neither_spread_nor_interval():
    models = breast_models({"cnn": [0.80], "vit": [0.78], "spt_lsa": [0.81]})
    assert comparison_table(models).splitlines()[2] == (
        "| BreastMNIST | 5 | 1 | 80.0, AUC 0.900 | 78.0, AUC 0.900 | 81.0, AUC 0.900 | +3.0 | +1.0 |"
    )


@pytest.mark.parametrize(
    ("accuracies", "recipes"),
    [
        ({"cnn": [0.8, 0.8], "vit": [0.8, 0.8]}, {}),
        ({"cnn": [0.8, 0.8], "vit": [], "spt_lsa": [0.8, 0.8]}, {}),
        ({"cnn": [0.8, 0.8], "vit": [0.8, 0.8], "spt_lsa": [0.8, 0.8]}, {"vit": RECIPE | {"epochs": 9}}),
    ],
    ids=["a model is absent", "no common seed", "other epochs"],
)
def test_models_that_cannot_be_compared_have_no_row(accuracies, recipes):
    assert "BreastMNIST" not in comparison_table(breast_models(accuracies, recipes))


def test_the_ablation_has_a_row_for_each_variant_with_its_difference_from_neither():
    both = {"subset": "breastmnist", "recipe": "both: SPT-LSA", "test_each_seed": "80.0 82.0"}
    neither = both | {"recipe": "neither: plain ViT", "test_each_seed": "79.0 80.0"}
    lines = ablation_table(row | {"test_auc": "0.9"} for row in (both, neither)).splitlines()
    assert lines[2] == ("| BreastMNIST | both: SPT-LSA | 2 | 81.0 ± 1.4 | 0.900 | +1.5 (-4.9 to +7.9) |")
    assert lines[3] == "| BreastMNIST | neither: plain ViT | 2 | 79.5 ± 0.7 | 0.900 |  |"
