import pytest
import torch
from transformers import ViTConfig, ViTForImageClassification

from medvit import models
from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.models.finetune import apply_strategy, merge_strategy

BLOOD = medmnist.get("bloodmnist")


def trainable(model):
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def test_rlrr_adds_what_the_paper_counts_for_vit_base():
    with torch.device("meta"):
        model = apply_strategy(ViTForImageClassification(ViTConfig()), "rlrr")
    head = sum(parameter.numel() for parameter in model.classifier.parameters())
    assert trainable(model) - head == 288_768


@pytest.mark.parametrize("strategy", ["full", "last-2", "linear", "lora", "rlrr"])
def test_merged_logits_equal_unmerged_ones_after_training(strategy, backbone):
    torch.manual_seed(0)
    model, _ = models.build("vit_finetuned", BLOOD, str(backbone))
    names = set(model.state_dict())
    x, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    start = model.eval()(pixel_values=x).logits.detach()
    trained = apply_strategy(model, strategy).eval()
    torch.testing.assert_close(trained(pixel_values=x).logits, start, atol=1e-5, rtol=0)
    optimizer = torch.optim.AdamW([p for p in trained.parameters() if p.requires_grad], 1e-2)
    for _ in range(5):
        loss = torch.nn.functional.cross_entropy(trained(pixel_values=x).logits, labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    learned = trained(pixel_values=x).logits.detach()
    assert (learned - start).abs().max() > 0.1
    merged = merge_strategy(trained, strategy)
    torch.testing.assert_close(merged(pixel_values=x).logits, learned, atol=1e-4, rtol=0)
    assert set(merged.state_dict()) == names


def test_each_strategy_trains_what_it_says(backbone):
    def count(strategy):
        return trainable(apply_strategy(models.build("vit_finetuned", BLOOD, str(backbone))[0], strategy))

    head = 8 * 33
    assert count("linear") == head
    block = 4 * 33 * 32 + 33 * 64 + 65 * 32 + 4 * 32
    assert count("last-2") == head + 2 * block + 2 * 32
    assert count("lora") == head + 3 * 2 * 16 * 64
    assert count("full") > count("last-2") > count("rlrr") > count("linear")


@pytest.mark.parametrize(
    ("strategy", "words"), [("last-9", "has 3 blocks"), ("magic", "full, last-K, linear, lora, rlrr")]
)
def test_a_strategy_that_is_not_there_is_refused(strategy, words, backbone):
    with pytest.raises(MedvitError, match=words):
        apply_strategy(models.build("vit_finetuned", BLOOD, str(backbone))[0], strategy)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_rlrr_fits_a_model_of_half_precision(dtype, backbone):
    model = models.build("vit_finetuned", BLOOD, str(backbone))[0].to(dtype).eval()
    x = torch.randn(2, 3, 32, 32).to(dtype)
    before = model(x).logits.detach()
    trained = apply_strategy(model, "rlrr")
    torch.testing.assert_close(trained(x).logits, before)
    assert {p.dtype for name, p in trained.named_parameters() if "parametrizations" in name} == {
        torch.float32,
        dtype,
    }
    merged = merge_strategy(trained, "rlrr")
    assert merged.dtype == dtype
    torch.testing.assert_close(merged(x).logits, before)
