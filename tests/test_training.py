import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForImageClassification, TrainerCallback

from medvit import checkpoint, files, models
from medvit.data import medmnist, synthetic
from medvit.errors import MedvitError
from medvit.inference.predictor import Predictor
from medvit.training import train
from medvit.training.augment import Augmentation, mix
from medvit.training.dataset import BatchLoader, DeviceDataset
from medvit.training.objective import TrainingModule, class_weights, disagreement, soft_targets
from medvit.training.recipes import EFFORTS, change, recipe
from medvit.training.trainer import BEST, MedvitTrainer, last_state

from .conftest import run_script

STILL = Augmentation(flip_x=False, degrees=0, scale=0, translate=0, brightness=0, contrast=0)


def test_blur_keeps_flat_images_and_half_of_the_others():
    torch.manual_seed(0)
    blurred = replace(STILL, blur=1.5)
    flat = torch.full((4, 3, 28, 28), 77.0)
    torch.testing.assert_close(blurred(flat), flat)
    noise = torch.randint(256, (200, 3, 28, 28)).float()
    change = (blurred(noise) - noise).abs().amax((1, 2, 3))
    assert 60 < (change < 0.01).sum() < 140
    assert (blurred(noise).std((2, 3)).mean(1) < 0.7 * noise.std((2, 3)).mean(1)).sum() > 30
    torch.testing.assert_close(blurred(noise).mean(), noise.mean(), atol=0.5, rtol=0)


def test_erasing_paints_up_to_three_grey_squares():
    torch.manual_seed(0)
    erasing = replace(STILL, random_erasing=1.0)
    image = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1).expand(100, 3, 28, 28)
    changed = (erasing(image) - image).abs().amax(1) > 1e-3
    assert changed.any((1, 2)).all()
    assert changed.float().mean((1, 2)).max() <= 3 * 0.3**2 * 1.3  # whole pixels round up
    painted = erasing(image)
    grey = painted.std(1) < 1e-3  # the image itself is coloured
    assert grey.float().mean() > 0.02
    torch.testing.assert_close(STILL(image), image.contiguous())


def test_an_augmentation_of_nothing_changes_nothing():
    pixels = torch.randint(0, 256, (4, 3, 28, 28), dtype=torch.uint8)
    torch.testing.assert_close(STILL(pixels), pixels.float(), atol=1e-2, rtol=0)


def test_answers_disagree_by_the_mean_of_both_divergences():
    torch.manual_seed(0)
    logits, others = torch.randn(2, 5, 4)
    p, q = logits.softmax(1), others.softmax(1)
    both = (p * (p / q).log()).sum(1) + (q * (q / p).log()).sum(1)
    torch.testing.assert_close(disagreement(logits, others), both.mean() / 2)
    assert disagreement(logits, logits, multi_label=True) == 0
    single = disagreement(logits[:, :1], others[:, :1], multi_label=True)
    pair = disagreement(*(F.pad(x[:, :1], (0, 1)) for x in (logits, others)))
    torch.testing.assert_close(single, pair)  # a sigmoid is a softmax against zero


def test_flips_are_exact_mirrors_of_half_the_images():
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (400, 3, 28, 28), dtype=torch.uint8)
    result = replace(STILL, flip_x=True)(pixels)
    same = (result - pixels.float()).abs().amax((1, 2, 3)) < 0.01
    mirrored = (result - pixels.flip(-1).float()).abs().amax((1, 2, 3)) < 0.01
    assert torch.equal(same, ~mirrored)
    assert 150 < same.sum() < 250


def test_a_full_turn_moves_images_but_keeps_them_in_range():
    torch.manual_seed(0)
    pixels = torch.randint(0, 256, (8, 3, 28, 28), dtype=torch.uint8)
    result = Augmentation(flip_y=True, degrees=180, saturation=0.2)(pixels)
    assert result.shape == pixels.shape
    assert result.min() >= 0
    assert result.max() <= 255
    assert (result - pixels.float()).abs().mean() > 5


@pytest.mark.parametrize("subset", medmnist.names())
@pytest.mark.parametrize("model", models.NAMES)
def test_every_pair_has_a_recipe_that_a_gpu_follows_longer(subset, model):
    cpu, gpu = (recipe(subset, model, effort=effort) for effort in EFFORTS)
    assert 1 <= cpu.epochs < gpu.epochs
    assert gpu.train_images is None
    assert cpu.image_size == gpu.image_size


@pytest.mark.parametrize("subset", ["bloodmnist", "pathmnist", "retinamnist"])
def test_recipes_for_colour_prepare_for_jpeg(subset):
    for effort in EFFORTS:
        augmentation = recipe(subset, "vit", effort=effort).augmentation
        assert augmentation.jpeg > 0
        assert augmentation.noise > 0


def train(subset, model, out, synthetic_root, backbone, start=None, teachers=(), **options):
    options = {"epochs": 2, "batch_size": 16, "image_size": None} | options
    return train.train(
        subset,
        model,
        replace(recipe(subset, model), **options),
        out,
        backbone=str(backbone),
        start=start,
        teachers=teachers,
        data_root=synthetic_root,
    )


@pytest.mark.parametrize("model", models.NAMES)
def test_every_model_trains_to_a_whole_checkpoint(model, synthetic_root, backbone, tmp_path):
    out = train("bloodmnist", model, tmp_path / "out", synthetic_root, backbone)
    found = checkpoint.load(out)
    assert next(found.model.parameters()).dtype == torch.float32
    stored = AutoModelForImageClassification.from_pretrained(out)
    assert next(stored.parameters()).dtype == torch.float16
    assert found.test_logits.shape == (16, 8)
    assert [round(row["epoch"]) for row in found.card["history"]] == [1, 2]
    assert found.card["source_size"] == 28
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.parametrize("strategy", ["last-1", "linear", "lora", "rlrr"])
def test_every_strategy_ends_in_a_plain_checkpoint(strategy, synthetic_root, backbone, tmp_path):
    out = train("bloodmnist", "vit_finetuned", tmp_path / "out", synthetic_root, backbone, strategy=strategy)
    found = checkpoint.load(out)
    assert found.card["strategy"] == strategy
    assert found.model.config.model_type == "vit"


@pytest.mark.parametrize(("model", "patches"), [("spt_lsa", 49), ("cnn", None)])
def test_larger_sources_are_taken_as_they_are(model, patches, backbone, tmp_path):
    synthetic.write_archive("bloodmnist", tmp_path, {"train": 8, "val": 8, "test": 8}, size=224)
    settings = replace(recipe("bloodmnist", model, size=224), epochs=1)
    train.train("bloodmnist", model, settings, tmp_path / "out", size=224, data_root=tmp_path)
    found = checkpoint.load(tmp_path / "out")
    assert (found.card["source_size"], found.preprocessing.size) == (224, 224)
    if patches:
        assert found.model.position_embedding.shape[1] == patches + 1
    assert Predictor(found).source(synthetic.draw("bloodmnist", 0)).shape == (224, 224, 3)


@pytest.mark.parametrize("subset", ["chestmnist", "retinamnist"])
def test_multi_label_and_ordinal_subsets_train(subset, synthetic_root, backbone, tmp_path):
    found = checkpoint.load(train(subset, "cnn", tmp_path / "out", synthetic_root, backbone, epochs=1))
    assert found.test_logits.shape == (16, len(found.dataset.classes))
    assert ("quadratic_kappa" in found.card["test"]) == found.dataset.ordinal


@pytest.mark.parametrize("model", ["spt_lsa", "vit_finetuned"])
def test_the_best_epoch_is_what_is_stored(model, synthetic_root, backbone, tmp_path):
    # A learning rate that wrecks the model after a good start, so that best and last differ.
    out = train("bloodmnist", model, tmp_path / "out", synthetic_root, backbone, epochs=6, learning_rate=2e-2)
    card = checkpoint.load(out).card
    best = max(card["history"], key=lambda row: (row["val_accuracy"], -row["val_loss"]))
    assert card["validation"]["loss"] == pytest.approx(best["val_loss"], rel=0.03)


class Kill(TrainerCallback):
    def on_epoch_begin(self, args, state, control, **kwargs):
        if state.epoch >= 2:
            raise KeyboardInterrupt


def test_a_killed_run_resumes_to_bit_identical_weights(synthetic_root, backbone, tmp_path, monkeypatch):
    whole = train("breastmnist", "spt_lsa", tmp_path / "whole", synthetic_root, backbone, epochs=3)
    settings = replace(recipe("breastmnist", "spt_lsa"), epochs=3, batch_size=16)
    with monkeypatch.context() as patch:
        patch.setattr(train.EmaAndBestCallback, "on_epoch_begin", Kill.on_epoch_begin)
        with pytest.raises(KeyboardInterrupt):
            train.train(
                "breastmnist",
                "spt_lsa",
                settings,
                tmp_path / "killed",
                data_root=synthetic_root,
                save_seconds=0,
            )
    (state,) = (tmp_path / ".killed.training").glob("checkpoint-*")
    assert not (tmp_path / "killed").exists()
    resumed = train.train(
        "breastmnist", "spt_lsa", settings, tmp_path / "killed", data_root=synthetic_root, resume=True
    )
    assert files.sha256(resumed / checkpoint.WEIGHTS) == files.sha256(whole / checkpoint.WEIGHTS)
    histories = [json.loads((path / "card.json").read_text())["history"] for path in (whole, resumed)]
    assert histories[0] == histories[1]


def test_a_state_left_unfinished_by_a_kill_is_passed_over(tmp_path):
    for step in (5, 10, 15):
        (tmp_path / f"checkpoint-{step}").mkdir()
    assert last_state(tmp_path) is None
    for step in (5, 10):
        (tmp_path / f"checkpoint-{step}" / BEST).touch()
    (tmp_path / "checkpoint-15" / f"{BEST}.part").touch()
    assert last_state(tmp_path).name == "checkpoint-10"


def test_a_run_killed_while_saving_resumes_from_the_state_before(synthetic_root, tmp_path, monkeypatch):
    settings = replace(recipe("breastmnist", "cnn"), epochs=3, batch_size=16)
    save = train.EmaAndBestCallback.on_save

    def killed(self, args, state, control, **kwargs):
        if state.epoch >= 2:
            raise KeyboardInterrupt
        save(self, args, state, control, **kwargs)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train.EmaAndBestCallback, "on_save", killed)
        train.train(
            "breastmnist", "cnn", settings, tmp_path / "out", data_root=synthetic_root, save_seconds=0
        )
    states = sorted(path.name for path in (tmp_path / ".out.training").glob("checkpoint-*"))
    assert len(states) == 2
    found = train.train(
        "breastmnist", "cnn", settings, tmp_path / "out", data_root=synthetic_root, resume=True
    )
    whole = train.train("breastmnist", "cnn", settings, tmp_path / "whole", data_root=synthetic_root)
    assert files.sha256(found / checkpoint.WEIGHTS) == files.sha256(whole / checkpoint.WEIGHTS)


def test_the_processes_share_each_batch_and_nothing_is_seen_twice():
    images, labels = np.zeros((103, 28, 28), np.uint8), np.arange(103)
    data = DeviceDataset(images, labels, torch.device("cpu"))
    alone, first, second = (BatchLoader(data, 32, 7, *who) for who in ((0, 1), (0, 2), (1, 2)))
    epochs = []
    for epoch in range(2):
        for batches in (alone, first, second):
            batches.set_epoch(epoch)
        steps = [[batch["labels"].tolist() for batch in batches] for batches in (alone, first, second)]
        assert len(steps[0]) == 3
        for all_of_it, *parts in zip(*steps, strict=True):
            assert sorted(sum(parts, [])) == sorted(all_of_it)
        seen = sum(steps[0], [])
        assert len(set(seen)) == len(seen) == 96
        epochs.append(seen)
    assert epochs[0] != epochs[1]


def test_mixing_keeps_what_is_shown_and_what_is_asked_in_step():
    torch.manual_seed(0)
    targets = torch.eye(8)
    x = targets.view(8, 8, 1, 1).expand(8, 8, 28, 28)[:, :3].clone()  # channel c of image c is one
    for mixup, cutmix in ((1.0, 0.0), (0.0, 1.0)):
        mixed, wanted = mix(x, targets, mixup, cutmix)
        torch.testing.assert_close(wanted.sum(1), torch.ones(8))
        torch.testing.assert_close(mixed.mean((2, 3)), wanted[:, :3])
        assert (wanted.amax(1) < 1).sum() >= 6
    pasted = mix(x, targets, 0.0, 1.0)[0]
    assert set(pasted.unique().tolist()) == {0.0, 1.0}
    assert mix(x, targets, 0.0, 0.0)[0] is x


def test_targets_of_grades_fall_off_with_distance_and_weights_balance_classes():
    torch.testing.assert_close(
        soft_targets(3, 0.3, 0), torch.tensor([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])
    )
    row = soft_targets(5, 0.0, 0.7)[1]
    assert row.argmax() == 1
    assert row[0] == row[2] > row[3] > row[4]
    weights = class_weights(np.array([900, 100]), 1.0)
    torch.testing.assert_close(weights, torch.tensor([0.5556, 5.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(class_weights(np.array([900, 100]), 0.0), torch.ones(2))


def test_earlier_blocks_take_smaller_steps(synthetic_root, backbone, tmp_path):
    model, preprocessing = models.build("vit_finetuned", medmnist.get("bloodmnist"), str(backbone))
    settings = replace(recipe("bloodmnist", "vit_finetuned"), layer_decay=0.5, learning_rate=8e-4)
    classifier = TrainingModule(model, preprocessing, settings, np.arange(8), 8)
    data = DeviceDataset(np.zeros((8, 28, 28, 3), np.uint8), np.arange(8), torch.device("cpu"))
    engine = MedvitTrainer(
        classifier,
        train.arguments(settings, tmp_path, 0),
        BatchLoader(data, 8, 0),
        data,
        medmnist.get("bloodmnist"),
    )
    rate = {
        id(parameter): group["lr"]
        for group in engine.create_optimizer().param_groups
        for parameter in group["params"]
    }
    assert rate[id(model.classifier.weight)] == 8e-4
    assert [rate[id(layer.mlp.fc1.weight)] for layer in model.vit.layers] == [1e-4, 2e-4, 4e-4]
    assert rate[id(model.vit.embeddings.cls_token)] == 5e-5
    assert len(rate) == len(list(model.parameters()))


@pytest.mark.parametrize("subset", ["retinamnist", "chestmnist"])
def test_every_option_of_a_recipe_trains(subset, synthetic_root, backbone, tmp_path):
    options = dict(ema=0.9, mixup=0.5, cutmix=0.5, layer_decay=0.8, balance=0.5, ordinal=0.5, epochs=1)
    found = checkpoint.load(
        train(subset, "spt_lsa", tmp_path / "out", synthetic_root, backbone, config={"lsa": False}, **options)
    )
    assert found.model.config.lsa is False
    assert found.card["recipe"]["cutmix"] == 0.5


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (["ema"], "FIELD=VALUE"),
        (["epochs=many"], "FIELD=VALUE"),
        (["strategy=1"], "does not fit"),
        (["flip_x=1"], "does not fit"),
    ],
)
def test_a_setting_that_does_not_fit_is_refused(settings, words):
    with pytest.raises(MedvitError, match=words):
        change(recipe("bloodmnist", "vit"), settings)


@pytest.mark.parametrize(
    ("model", "options", "words"),
    [
        ("cnn", {"epochs": 0}, "epochs must be above zero"),
        ("cnn", {"learning_rate": -1.0}, "learning_rate must be above zero"),
        ("vit", {"image_size": 30}, "not a multiple of patch_size"),
        ("vit", {"config": {"num_attention_heads": 5}}, "not a multiple of num_attention_heads"),
    ],
)
def test_a_recipe_that_cannot_be_followed_is_refused(model, options, words, synthetic_root, tmp_path):
    with pytest.raises(MedvitError, match=words):
        train("bloodmnist", model, tmp_path / "out", synthetic_root, None, **options)


@pytest.mark.parametrize("damage", ["no preprocessor_config.json", "other bytes as weights"])
def test_a_backbone_that_is_not_whole_is_one_sentence(damage, backbone, tmp_path):
    folder = shutil.copytree(backbone, tmp_path / "backbone")
    if damage == "other bytes as weights":
        (folder / "model.safetensors").write_bytes(b"no weights" * 9)
    else:
        (folder / "preprocessor_config.json").unlink()
    with pytest.raises(MedvitError, match="could not be loaded"):
        models.build("vit_finetuned", medmnist.get("bloodmnist"), str(folder))


def test_norms_and_biases_of_every_model_have_no_weight_decay(backbone, tmp_path):
    for name in models.NAMES:
        model, preprocessing = models.build(name, medmnist.get("bloodmnist"), str(backbone))
        settings = recipe("bloodmnist", name)
        classifier = TrainingModule(model, preprocessing, settings, np.arange(8), 8)
        data = DeviceDataset(np.zeros((8, 28, 28, 3), np.uint8), np.arange(8), torch.device("cpu"))
        options = train.arguments(settings, tmp_path, 0)
        engine = MedvitTrainer(classifier, options, BatchLoader(data, 8, 0), data, medmnist.get("bloodmnist"))
        decayed = {
            id(parameter)
            for group in engine.create_optimizer().param_groups
            for parameter in group["params"]
            if group["weight_decay"]
        }
        norms = [m for m in model.modules() if isinstance(m, torch.nn.LayerNorm | torch.nn.BatchNorm2d)]
        assert norms
        assert not decayed & {id(parameter) for norm in norms for parameter in norm.parameters()}
        assert not decayed & {id(p) for n, p in model.named_parameters() if n.endswith("bias")}
        assert id(model.classifier.weight) in decayed


def test_settings_change_the_recipe_or_the_architecture(synthetic_root, tmp_path):
    changed = change(recipe("bloodmnist", "spt_lsa"), ["ema=0.99", "lsa=false", "drop_path=0.2"])
    assert changed.ema == 0.99
    assert changed.config == {"lsa": False, "drop_path": 0.2}
    brighter = change(changed, ["brightness=0.4", "flip_y=false"])
    assert (brighter.augmentation.brightness, brighter.augmentation.flip_y) == (0.4, False)
    assert (brighter.augmentation.contrast, brighter.config) == (
        changed.augmentation.contrast,
        changed.config,
    )
    with pytest.raises(MedvitError, match="emma"):
        train.train(
            "bloodmnist", "cnn", change(changed, ["emma=1"]), tmp_path / "out", data_root=synthetic_root
        )


def test_training_goes_on_from_a_checkpoint_and_its_card_says_so(synthetic_root, backbone, tmp_path):
    first = train("bloodmnist", "cnn", tmp_path / "first", synthetic_root, backbone)
    weights = checkpoint.load(first).model.state_dict()
    require_state = dict(start=first, learning_rate=1e-12)
    on = checkpoint.load(
        train("bloodmnist", "cnn", tmp_path / "on", synthetic_root, backbone, **require_state)
    )
    other = checkpoint.load(
        train("retinamnist", "cnn", tmp_path / "other", synthetic_root, backbone, **require_state)
    )
    for name, one in on.model.state_dict().items():
        if "running" not in name and "tracked" not in name:
            torch.testing.assert_close(one, weights[name])
    torch.testing.assert_close(other.model.state_dict()["stem.0.weight"], weights["stem.0.weight"])
    assert other.model.classifier.out_features == 5
    assert other.card["start"]["sha256"] == checkpoint.load(first).card["sha256"]
    assert "2 epochs on BloodMNIST" in other.origin
    tuned = train("breastmnist", "vit_finetuned", tmp_path / "tuned", synthetic_root, backbone)
    card = json.loads((tuned / "card.json").read_text())
    assert card["backbone"] == Path(backbone).name
    (tuned / "card.json").write_text(json.dumps(card | {"backbone": "someone/vit"}))
    further = train(
        "breastmnist", "vit_finetuned", tmp_path / "further", synthetic_root, "absent", start=tuned
    )
    assert checkpoint.load(further).card["backbone"] == "someone/vit"
    with pytest.raises(MedvitError, match="holds a cnn"):
        train("bloodmnist", "vit", tmp_path / "third", synthetic_root, backbone, start=first)
    done = run_script(
        "train.py", "--subset", "breastmnist", "--model", "vit_finetuned", "--start", tuned, "--epochs", "1",
        "--no-trust", "--data-root", synthetic_root, "--out", tmp_path / "by command",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert checkpoint.load(tmp_path / "by command").preprocessing.size == 32  # that of the start


def test_blending_keeps_a_share_of_the_weights_it_started_from(synthetic_root, backbone, tmp_path):
    first = train("bloodmnist", "cnn", tmp_path / "first", synthetic_root, backbone)
    on = train("bloodmnist", "cnn", tmp_path / "on", synthetic_root, backbone, start=first)
    mixed = train("bloodmnist", "cnn", tmp_path / "mixed", synthetic_root, backbone, start=first, blend=0.6)
    before, after, between = (checkpoint.load(path).model.state_dict() for path in (first, on, mixed))
    moved = 0.0
    for name, one in between.items():
        if one.is_floating_point():
            torch.testing.assert_close(one, 0.6 * before[name] + 0.4 * after[name], atol=2e-3, rtol=2e-3)
            moved = max(moved, float((after[name] - before[name]).abs().max()))
    assert moved > 0.02
    with pytest.raises(MedvitError, match="--start"):
        train("bloodmnist", "cnn", tmp_path / "none", synthetic_root, backbone, blend=0.6)


def test_teachers_answer_in_place_of_labels(synthetic_root, backbone, tmp_path):
    first = train("bloodmnist", "cnn", tmp_path / "first", synthetic_root, backbone)
    found = checkpoint.load(first)
    wholly = replace(recipe("bloodmnist", "vit"), distill=1.0, augmentation=STILL)
    torch.manual_seed(0)
    student, preprocessing = models.build("vit", found.dataset)
    labels = np.arange(8)
    teachers = [(found.model, found.preprocessing)]
    classifier = TrainingModule(student, preprocessing, wholly, labels, 8, teachers)
    pixels = torch.randint(0, 256, (8, 3, 28, 28), dtype=torch.uint8)
    with torch.no_grad():
        taught = found.model(pixel_values=found.preprocessing(pixels)).logits.softmax(1)
        said = student.eval()(pixel_values=preprocessing(pixels)).logits.log_softmax(1)
        loss = classifier.eval()(pixels, torch.tensor(labels))
    torch.testing.assert_close(loss, -(taught * said).sum(1).mean(), atol=2e-2, rtol=2e-2)
    assert {id(p) for p in classifier.parameters()} == {id(p) for p in student.parameters()}

    taught_by = train(
        "bloodmnist", "vit", tmp_path / "taught", synthetic_root, backbone, teachers=[first, first]
    )
    card = checkpoint.load(taught_by)
    assert [one["sha256"] for one in card.card["teachers"]] == [found.card["sha256"]] * 2
    assert card.origin == "trained from scratch, distilled from 2 other models"
    with pytest.raises(MedvitError, match="trained on BloodMNIST"):
        train("retinamnist", "cnn", tmp_path / "foreign", synthetic_root, backbone, teachers=[first])
    with pytest.raises(MedvitError, match="distill"):
        train("bloodmnist", "vit", tmp_path / "over", synthetic_root, backbone, teachers=[first], distill=1.5)


def test_an_existing_checkpoint_is_not_overwritten(trained, synthetic_root, backbone):
    out = trained / "breastmnist" / "spt_lsa"
    before = files.sha256(out / "card.json")
    with pytest.raises(MedvitError, match="not overwritten"):
        train("breastmnist", "spt_lsa", out, synthetic_root, backbone)
    assert files.sha256(out / "card.json") == before


def test_absent_data_are_one_sentence_and_a_status(tmp_path):
    done = run_script("train.py", "--subset", "bloodmnist", "--model", "cnn", "--data-root", tmp_path)
    assert done.returncode == 1
    assert "medvit download bloodmnist" in done.stderr
    assert "Traceback" not in done.stderr


def test_evaluate_confirms_a_card_and_writes_its_row_once(trained, synthetic_root, tmp_path):
    folder = trained / "breastmnist" / "spt_lsa"
    for _ in range(2):
        done = run_script("evaluate.py", folder, "--data-root", synthetic_root, "--out", tmp_path)
        assert done.returncode == 0, done.stderr
    rows = (tmp_path / "metrics.csv").read_text().splitlines()
    assert len(rows) == 2
    assert rows[1].startswith("breastmnist,spt_lsa,28,28")
    page = (tmp_path / "pages" / "breastmnist-spt_lsa.html").read_text()
    assert "malignant" in page
    assert "<script src=" not in page


def test_evaluate_notices_a_card_that_claims_too_much(trained, synthetic_root, tmp_path):
    folder = tmp_path / "breastmnist" / "spt_lsa"
    shutil.copytree(trained / "breastmnist" / "spt_lsa", folder)
    card = json.loads((folder / "card.json").read_text())
    card["test"]["accuracy"] += 0.01
    (folder / "card.json").write_text(json.dumps(card))
    done = run_script("evaluate.py", folder, "--data-root", synthetic_root, "--out", tmp_path / "results")
    assert done.returncode == 1
    assert "the card says" in done.stdout
