import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from medvit import models
from medvit.data import medmnist
from medvit.models.vit import DropPath
from medvit.training.dataset import BatchLoader, DeviceDataset
from medvit.training.objective import TrainingModule
from medvit.training.trainer import BEST, MedvitTrainer, block_index, last_state, training_arguments

from .conftest import TINY, tiny_recipe

BLOOD = medmnist.get("bloodmnist")


def trainer_of(name, recipe, backbone, work, engine="auto", **config):
    """A trainer that has not started, and its model."""
    model, preprocessing = models.build(name, BLOOD, str(backbone), **TINY[name] | config)
    module = TrainingModule(model, preprocessing, recipe)
    dataset = DeviceDataset(np.zeros((8, 28, 28, 3), np.uint8), torch.device("cpu"), torch.eye(8))
    args = training_arguments(recipe, work, 0, evaluate=False)
    return MedvitTrainer(module, args, BatchLoader(dataset, 8, 0), engine=engine), model


def test_earlier_blocks_have_smaller_learning_rates(backbone, tmp_path):
    recipe = tiny_recipe("bloodmnist", "vit_finetuned", layer_decay=0.5, learning_rate=8e-4)
    trainer, model = trainer_of("vit_finetuned", recipe, backbone, tmp_path)
    groups = trainer.create_optimizer().param_groups
    rate = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert rate[id(model.classifier.weight)] == 8e-4
    assert [rate[id(layer.mlp.fc1.weight)] for layer in model.vit.layers] == [1e-4, 2e-4, 4e-4]
    assert rate[id(model.vit.embeddings.cls_token)] == 5e-5
    assert len(rate) == len(list(model.parameters()))


@pytest.mark.parametrize("name", models.NAMES)
def test_norms_and_biases_have_no_weight_decay(name, backbone, tmp_path):
    trainer, model = trainer_of(name, tiny_recipe("bloodmnist", name), backbone, tmp_path)
    groups = trainer.create_optimizer().param_groups
    decayed = {id(parameter) for group in groups for parameter in group["params"] if group["weight_decay"]}
    norms = [m for m in model.modules() if isinstance(m, torch.nn.LayerNorm | torch.nn.BatchNorm2d)]
    assert norms
    assert not decayed & {id(parameter) for norm in norms for parameter in norm.parameters()}
    assert not decayed & {id(p) for name, p in model.named_parameters() if name.endswith("bias")}
    assert id(model.classifier.weight) in decayed


def test_parameters_belong_to_blocks_by_name():
    assert block_index("model.vit.layers.3.mlp.fc1.weight") == 3
    assert block_index("model.blocks.0.norm1.bias") == 0
    assert block_index("model.patch_embedding.projection.weight") == -1
    assert block_index("model.classifier.weight") is None


def test_a_state_that_a_kill_left_incomplete_does_not_count(tmp_path):
    for step in (5, 10, 15):
        (tmp_path / f"checkpoint-{step}").mkdir()
    assert last_state(tmp_path) is None
    for step in (5, 10):
        (tmp_path / f"checkpoint-{step}" / BEST).touch()
    (tmp_path / "checkpoint-15" / f"{BEST}.part").touch()
    assert last_state(tmp_path).name == "checkpoint-10"


def test_training_arguments_follow_the_recipe(tmp_path):
    recipe = replace(tiny_recipe("bloodmnist", "cnn"), epochs=3, batch_size=5, warmup=0.25)
    args = training_arguments(recipe, tmp_path, seed=7)
    assert (args.num_train_epochs, args.per_device_train_batch_size, args.seed) == (3, 5, 7)
    assert args.warmup_steps == 0.25


@pytest.mark.parametrize(("steps", "first"), [(1, 1.0), (10, 1.0), (11, 0.0)])
def test_a_warm_up_is_more_than_a_step_at_a_rate_of_zero(steps, first, backbone, tmp_path):
    recipe = tiny_recipe("bloodmnist", "cnn", warmup=0.1, learning_rate=1e-3)
    trainer, _ = trainer_of("cnn", recipe, backbone, tmp_path)
    trainer.create_optimizer_and_scheduler(steps)
    assert trainer.optimizer.param_groups[0]["lr"] == first * 1e-3


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("c++"), reason="torch.compile needs a C++ compiler")
@pytest.mark.parametrize(("name", "config"), [("cnn", {}), ("cnn", {"width": 8}), ("spt_lsa", {})])
def test_a_compiled_model_has_the_loss_and_gradients_of_an_eager_one(
    name, config, backbone, tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path / "compiled"))  # not that of another processor
    pixels = 255 * torch.rand(8, 3, 28, 28, generator=torch.Generator().manual_seed(0))
    losses, gradients = [], []
    for engine in ("eager", "compile"):
        torch.manual_seed(0)
        recipe = tiny_recipe("bloodmnist", name)
        trainer, model = trainer_of(name, recipe, backbone, tmp_path, engine, **config)
        trainer.module.train()
        for module in model.modules():
            if isinstance(module, DropPath):  # compiled, it draws other random numbers
                module.rate = 0.0
        loss = trainer.compute_loss(trainer.module, {"pixels": pixels, "targets": torch.eye(8)})
        loss.backward()
        losses.append(loss.detach())
        gradients.append(model.classifier.weight.grad)
    torch.testing.assert_close(*losses, rtol=1e-2, atol=0)
    assert gradients[0].abs().max() > 1e-3
    torch.testing.assert_close(*gradients, rtol=0, atol=0.05 * float(gradients[0].abs().max()))
