import json

import pytest

from medvit import checkpoint, files
from medvit.errors import MedvitError
from medvit.training import trainer
from medvit.training.ood_reference import OTHER, train_ood_reference
from medvit.training.work import work_folder

OPTIONS = dict(epochs=2, names=["breastmnist", "retinamnist"], steps=2, width=4)


@pytest.fixture
def small_pools(monkeypatch):
    """Few drawings, so that a test does not wait for 21,000."""
    draw = train_ood_reference.__globals__["synthetic_outliers"].draw
    module = train_ood_reference.__globals__["synthetic_outliers"]
    monkeypatch.setattr(module, "draw", lambda count, seed: draw(min(count, 50), seed))


def test_it_is_trained_on_all_classes_and_outliers_and_resumes(
    small_pools, synthetic_root, tmp_path, monkeypatch
):
    out = train_ood_reference(tmp_path / "reference", data_root=synthetic_root, **OPTIONS)
    model = checkpoint.load_model(out)
    labels = list(model.config.id2label.values())
    assert len(labels) == 2 + 5 + 1
    assert labels[-1] == OTHER
    card = json.loads((out / "card.json").read_text())
    assert card["sha256"] == files.sha256(out / checkpoint.WEIGHTS)
    assert set(card["validation"]) == {"breastmnist", "retinamnist"}
    assert [row["epoch"] for row in card["history"]] == [1, 2]

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):

        def kill(self, args, state, control, **kwargs):
            if state.epoch >= 1:
                raise KeyboardInterrupt

        patch.setattr(trainer.EmaAndBestCallback, "on_step_begin", kill)
        train_ood_reference(tmp_path / "killed", data_root=synthetic_root, **OPTIONS)
    assert work_folder(tmp_path / "killed").is_dir()
    resumed = train_ood_reference(tmp_path / "killed", data_root=synthetic_root, resume=True, **OPTIONS)
    assert files.sha256(resumed / checkpoint.WEIGHTS) == card["sha256"]
    with pytest.raises(MedvitError, match="not overwritten"):
        train_ood_reference(out, data_root=synthetic_root, **OPTIONS)
