import json
import threading

import pytest
import torch
from torch import nn

from medvit.errors import MedvitError
from medvit.models import folder_check


def test_a_model_fits_its_own_weights(backbone):
    folder_check.check_sizes(backbone)


def test_a_build_ends_when_it_has_more_layers_than_the_weights(backbone):
    built = []

    def build():
        layers = nn.ModuleList()
        for _ in range(10**6):
            layers.append(nn.Linear(2, 2))
            built.append(None)

    with pytest.raises(MedvitError, match="larger model"):
        folder_check.check_sizes(backbone, build)
    assert len(built) < 1000


def test_a_build_of_modules_without_weights_ends_too(backbone):
    with pytest.raises(MedvitError, match="larger model"):
        folder_check.check_sizes(backbone, lambda: nn.Sequential(*(nn.Identity() for _ in range(100_000))))


def test_models_that_other_threads_build_are_not_counted(backbone):
    others = []

    def build():
        thread = threading.Thread(target=lambda: others.append(nn.Linear(10_000, 10_000, device="meta")))
        thread.start()
        thread.join()

    folder_check.check_sizes(backbone, build)
    assert others[0].weight.numel() == 10**8


@pytest.mark.parametrize("number", [10**9, -(10**9), float("nan"), float("inf")])
def test_numbers_that_no_model_needs_are_refused(tmp_path, number):
    (tmp_path / "config.json").write_text(json.dumps({"sizes": [{"depth": [1, number]}]}))
    with pytest.raises(MedvitError, match="'depth'"):
        folder_check.read_config(tmp_path)


def test_weights_and_logits_have_to_be_finite():
    model = nn.Linear(2, 2)
    folder_check.check_finite(model)
    folder_check.check_logits(model, torch.zeros(1, 2))
    with torch.no_grad():
        model.weight[0, 0] = torch.nan
    with pytest.raises(MedvitError, match="weight"):
        folder_check.check_finite(model)
    with pytest.raises(MedvitError, match="Linear"):
        folder_check.check_logits(model, model(torch.ones(1, 2)))
