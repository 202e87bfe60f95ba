import json
from dataclasses import replace

import pytest
import torch
from transformers import AutoModelForImageClassification

from medvit import checkpoint, files, models
from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.inference.predictor import Predictor
from medvit.training import objective, trainer
from medvit.training import train as train_module
from medvit.training.recipes import recipe
from medvit.training.train import train
from medvit.training.work import work_folder

from .conftest import TINY


def weights(folder):
    return files.sha256(folder / checkpoint.WEIGHTS)


def history(folder):
    return json.loads((folder / "card.json").read_text())["history"]


@pytest.mark.parametrize("model", models.NAMES)
def test_every_model_trains_to_a_complete_checkpoint(model, quick_train, tmp_path):
    out = quick_train("bloodmnist", model)
    trained = checkpoint.load(out)
    assert next(trained.model.parameters()).dtype == torch.float32
    stored = AutoModelForImageClassification.from_pretrained(out)
    assert next(stored.parameters()).dtype == torch.float16
    assert trained.test_logits.shape == (16, 8)
    assert [round(row["epoch"]) for row in trained.card["history"]] == [1, 2]
    assert trained.card["source_size"] == 28
    assert trained.card["recipe"]["image_size"] == trained.preprocessing.size
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("strategy", ["last-1", "linear", "lora", "rlrr"])
def test_every_strategy_ends_in_a_plain_checkpoint(strategy, quick_train):
    trained = checkpoint.load(quick_train("bloodmnist", "vit_finetuned", strategy=strategy, epochs=1))
    assert trained.card["strategy"] == strategy
    assert trained.model.config.model_type == "vit"


@pytest.mark.parametrize(("model", "patches"), [("spt_lsa", 49), ("cnn", None)])
def test_larger_sources_are_taken_as_they_are(model, patches, tmp_path):
    synthetic.write_archive("bloodmnist", tmp_path, {"train": 4, "val": 4, "test": 4}, size=224)
    large = replace(recipe("bloodmnist", model, size=224), epochs=1, config=TINY[model])
    train("bloodmnist", model, large, tmp_path / "out", size=224, data_root=tmp_path, trust=False)
    trained = checkpoint.load(tmp_path / "out")
    assert (trained.card["source_size"], trained.preprocessing.size) == (224, 224)
    if patches:
        assert trained.model.position_embedding.shape[1] == patches + 1
    assert Predictor(trained).source(synthetic.draw("bloodmnist", 0)).shape == (224, 224, 3)


@pytest.mark.parametrize("subset", ["chestmnist", "retinamnist"])
def test_every_field_of_a_recipe_trains_multi_label_and_ordinal_datasets(subset, quick_train):
    options = dict(
        ema=0.9, mixup=0.5, cutmix=0.5, layer_decay=0.8, class_weight_power=0.5, ordinal_sigma=0.5,
        consistency_weight=1.0, patch_dropout=0.5, epochs=1, config={"lsa": False},
    )  # fmt: skip
    trained = checkpoint.load(quick_train(subset, "spt_lsa", **options))
    assert trained.model.config.lsa is False
    assert trained.card["recipe"]["cutmix"] == 0.5
    assert trained.test_logits.shape == (16, len(trained.dataset.classes))
    assert ("quadratic_kappa" in trained.card["test"]) == (trained.dataset.task == "ordinal-regression")


def test_a_stratified_sample_of_the_training_split_can_be_trained_on(quick_train):
    trained = checkpoint.load(quick_train("bloodmnist", "cnn", train_images=16, epochs=1))
    assert trained.card["trained_on"] == 16


@pytest.mark.parametrize(("faster", "precision"), [(True, "bfloat16"), (False, "float32")])
def test_the_card_names_the_precision(quick_train, monkeypatch, faster, precision):
    for module in (objective, train_module):
        monkeypatch.setattr(module, "bfloat16_is_faster", lambda device: faster)
    assert checkpoint.load(quick_train("breastmnist", "vit")).card["precision"] == precision


def test_the_metrics_of_the_card_are_those_of_the_kept_epoch(quick_train):
    card = checkpoint.load(quick_train("bloodmnist", "vit_finetuned", epochs=4, learning_rate=5e-2)).card
    lowest = min(row["val_loss"] for row in card["history"])
    assert card["validation"]["loss"] == pytest.approx(lowest, rel=0.03)
    assert card["selection"] == "lowest validation log-loss"
    assert card["seeds"][0]["validation_loss"] == card["validation"]["loss"]


class KilledError(Exception):
    pass


def kill(monkeypatch, event, when):
    """Have training raise at an event of the Trainer."""
    handler = getattr(trainer.EmaAndBestCallback, event)

    def killing(self, args, state, control, **kwargs):
        if when(state):
            raise KilledError
        return handler(self, args, state, control, **kwargs)

    monkeypatch.setattr(trainer.EmaAndBestCallback, event, killing)


@pytest.mark.parametrize("event", ["on_epoch_begin", "on_save", "on_step_end"])
def test_a_killed_run_resumes_to_bit_identical_weights(event, quick_train, tmp_path, monkeypatch):
    options = dict(subset="breastmnist", model="spt_lsa", epochs=3, ema=0.9, mixup=0.5, save_seconds=0)
    uninterrupted = quick_train(name="uninterrupted", **options)
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        kill(patch, event, lambda state: state.epoch > 1.9)
        quick_train(name="killed", **options)
    assert not (tmp_path / "killed").exists()
    assert len(list(work_folder(tmp_path / "killed").glob("checkpoint-*"))) == (
        2 if event == "on_save" else 1
    )
    resumed = quick_train(name="killed", resume=True, **options)
    assert weights(resumed) == weights(uninterrupted)
    assert history(resumed) == history(uninterrupted)
    assert not work_folder(resumed).exists()


def test_a_run_killed_while_it_writes_its_result_resumes(quick_train, monkeypatch):
    options = dict(subset="breastmnist", model="cnn", save_seconds=0)
    uninterrupted = quick_train(name="uninterrupted", **options)

    def fail(*_):
        raise KilledError

    with monkeypatch.context() as patch, pytest.raises(KilledError):
        patch.setattr(checkpoint, "write_test", fail)
        quick_train(name="killed", **options)
    resumed = quick_train(name="killed", resume=True, **options)
    assert weights(resumed) == weights(uninterrupted)
    assert history(resumed) == history(uninterrupted)


def test_resuming_a_finished_run_leaves_it_as_it_is(quick_train):
    options = dict(subset="breastmnist", model="cnn", epochs=1)
    out = quick_train(**options)
    before = (out / "card.json").read_bytes()
    work_folder(out).mkdir()  # a kill can leave it behind
    assert quick_train(resume=True, **options) == out
    assert (out / "card.json").read_bytes() == before
    assert not work_folder(out).exists()
    with pytest.raises(MedvitError, match="not overwritten"):
        quick_train(resume=True, seed=1, **options)


def test_the_state_of_another_run_is_not_resumed(quick_train, tmp_path, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(KilledError):
        kill(patch, "on_epoch_begin", lambda state: state.epoch >= 1)
        quick_train("breastmnist", "cnn", save_seconds=0)
    with pytest.raises(MedvitError, match="other settings"):
        quick_train("breastmnist", "cnn", learning_rate=1e-5, resume=True)


def test_an_existing_checkpoint_is_not_overwritten(trained, quick_train):
    out = trained / "breastmnist" / "spt_lsa"
    before = files.sha256(out / "card.json")
    with pytest.raises(MedvitError, match="not overwritten"):
        quick_train("breastmnist", "spt_lsa", out)
    assert files.sha256(out / "card.json") == before


@pytest.mark.parametrize(
    ("model", "options", "message"),
    [
        ("cnn", {"epochs": 0}, "epochs must be above zero"),
        ("cnn", {"patch_dropout": 0.5}, "no patches"),
        ("cnn", {"config": {"emma": 1}}, "emma"),
        ("cnn", {"wise_ft_alpha": 0.5}, "--initial-checkpoint"),
        ("cnn", {"distill_folds": 2, "teachers": ["somewhere"]}, "its own teachers"),
        ("vit", {"image_size": 30}, "not a multiple of patch_size"),
        ("vit", {"config": {"num_attention_heads": 5}}, "not a multiple of num_attention_heads"),
    ],
)
def test_an_impossible_recipe_is_refused(model, options, message, quick_train, tmp_path):
    with pytest.raises(MedvitError, match=message):
        quick_train("bloodmnist", model, **options)
    assert not list(tmp_path.iterdir())


def test_the_card_names_a_local_backbone_without_its_path(quick_train, backbone):
    card = checkpoint.load(quick_train("breastmnist", "vit_finetuned", epochs=1)).card
    assert card["backbone"] == backbone.name
    assert f"--backbone {backbone.name}" in card["command"]


@pytest.mark.parametrize(
    ("model", "name", "options", "message"),
    [
        ("cnn", "out", {"distill_folds": 30}, "30 folds are too many: there are 24 images of the largest"),
        ("vit_finetuned", "out", {"strategy": "bogus"}, "There is no strategy 'bogus'"),
        ("cnn", "file/out", {}, "file cannot be written"),
    ],
)
def test_a_refusal_leaves_nothing_behind(quick_train, tmp_path, model, name, options, message):
    (tmp_path / "file").touch()
    with pytest.raises(MedvitError, match=message):
        quick_train("breastmnist", model, name, **options)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
