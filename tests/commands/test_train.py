import dataclasses
import json

import pytest

from medvit import checkpoint, models
from medvit.commands.dataset_options import source_size
from medvit.commands.train import parse_command, parse_recipe
from medvit.errors import MedvitError
from medvit.training.recipes import change, recipe, train_command

from ..conftest import SHIPPED, run_command


def plain(value):
    """A recipe as a card stores it."""
    return json.loads(json.dumps(dataclasses.asdict(value)))


@pytest.mark.parametrize("model", models.NAMES)
@pytest.mark.parametrize(
    "changes",
    [
        [],
        ["ema=0.5", "mixup=0", "brightness=0.35", "flip_y=true", "drop_path=0.2", "epochs=7"],
        ["batch_size=8", "learning_rate=0.00035", "distill_folds=5", "wise_ft_alpha=0.5"],
    ],
)
def test_the_command_of_a_recipe_parses_to_exactly_this_recipe(model, changes):
    for subset, size in (("bloodmnist", 28), ("retinamnist", 64), ("dermamnist", 28)):
        original = change(recipe(subset, model, size), changes)
        args = parse_command(train_command(subset, model, original, seed=3, size=size))
        assert parse_recipe(args) == original
        assert (args.subset, args.model, args.seed, source_size(args)) == (subset, model, 3, size)


def test_a_command_names_the_strategy_and_the_backbone():
    original = dataclasses.replace(
        recipe("breastmnist", "vit_finetuned", strategy="rlrr", preset="quick"), image_size=224
    )
    args = parse_command(train_command("breastmnist", "vit_finetuned", original, 0, backbone="someone/vit"))
    assert parse_recipe(args) == original
    assert args.backbone == "someone/vit"


def test_the_commands_of_the_shipped_cards_parse_to_their_recipes():
    for card in (item.card for item in SHIPPED if "command" in item.card):
        args = parse_command(card["command"])
        assert plain(parse_recipe(args)) == card["recipe"], card["command"]
        parsed = (args.subset, args.model, args.seed, source_size(args))
        assert parsed == tuple(card[key] for key in ("subset", "model", "seed", "source_size"))


def test_another_command_is_refused():
    with pytest.raises(MedvitError, match="medvit train"):
        parse_command("python train.py")


def test_the_card_of_a_trained_checkpoint_has_its_command(trained):
    card = checkpoint.load(trained / "breastmnist" / "spt_lsa").card
    assert card["command"] == "medvit train --subset breastmnist --model spt_lsa --seed 0 --epochs 2"
    assert plain(parse_recipe(parse_command(card["command"]))) == card["recipe"]


def test_the_input_size_is_that_of_the_initial_checkpoint(trained):
    folder = trained / "breastmnist" / "spt_lsa"
    args = parse_command(
        f"medvit train --subset breastmnist --model vit_finetuned --initial-checkpoint {folder}"
    )
    assert parse_recipe(args).image_size == 28


def test_flags_replace_the_fields_of_the_recipe():
    args = parse_command(
        "medvit train --subset bloodmnist --model vit --epochs 3 --set ema=0.5 --set mixup=0 --batch-size 9"
    )
    changed = parse_recipe(args)
    assert (changed.epochs, changed.batch_size, changed.ema, changed.mixup) == (3, 9, 0.5, 0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--data-root", "/nonexistent"), "download bloodmnist"),
        (("--set", "ema"), "FIELD=VALUE"),
        (("--initial-checkpoint", "/nonexistent"), "/nonexistent"),
        (("--fold", "five"), "I/K"),
        (("--fold", "3/1"), "no fold"),
        (("--seed", "-1"), "The seed must be from 0 to 4,294,967,295, not -1."),
        (("--seed", "5000000000"), "The seed must be from 0 to 4,294,967,295, not 5,000,000,000."),
        (("--set", "width=0"), "width of cnn must be a whole number from 1 to 4096, not 0."),
        (("--set", "num_labels=5"), "Neither a recipe nor the architecture of cnn has num_labels."),
        (("--strategy", "bogus"), "--strategy is for vit_finetuned"),
        (("--learning-rate", "nan"), "learning_rate must be above zero, not nan."),
    ],
)
def test_a_mistake_is_one_sentence_and_a_status(arguments, message, tmp_path):
    done = run_command(
        "train", "--subset", "bloodmnist", "--model", "cnn", "--out", tmp_path / "x", *arguments
    )
    assert done.returncode == 1
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("flag", ["--effort", "--start"])
def test_retired_flags_are_unknown(flag):
    done = run_command("train", "--subset", "bloodmnist", "--model", "cnn", flag, "cpu")
    assert done.returncode == 2
    assert flag in done.stderr
