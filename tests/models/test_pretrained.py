import json
import shutil

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageClassification, ViTForImageClassification

from medvit import models
from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.models.pretrained import resize

BLOOD = medmnist.get("bloodmnist")


def build(backbone, **config):
    torch.manual_seed(0)
    model, preprocessing = models.build("vit_finetuned", BLOOD, str(backbone), **config)
    return model.eval(), preprocessing


def test_a_backbone_gets_a_new_head_and_keeps_the_rest(backbone):
    original = ViTForImageClassification.from_pretrained(backbone)
    model, preprocessing = build(backbone)
    assert model.classifier.out_features == 8
    assert preprocessing.size == 32
    torch.testing.assert_close(
        model.vit.embeddings.position_embeddings, original.vit.embeddings.position_embeddings
    )
    torch.testing.assert_close(model.vit.layers[0].mlp.fc1.weight, original.vit.layers[0].mlp.fc1.weight)


def test_another_input_size_interpolates_the_position_embedding(backbone, tmp_path):
    model, preprocessing = build(backbone, image_size=64)
    assert preprocessing.size == 64
    assert model.vit.embeddings.position_embeddings.shape == (1, 65, 32)
    model.save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(again(pixel_values=x).logits, model(pixel_values=x).logits)


def test_smaller_patches_are_embedded_as_if_they_were_enlarged(backbone, tmp_path):
    torch.manual_seed(0)
    original = ViTForImageClassification.from_pretrained(backbone)
    model, preprocessing = build(backbone, image_size=28)
    assert (preprocessing.size, model.config.patch_size) == (28, 4)  # 8 and 28 share 4
    patch = torch.randn(2, 3, 4, 4)
    enlarged = F.interpolate(patch, (8, 8), mode="bicubic")
    torch.testing.assert_close(
        model.vit.embeddings.patch_embeddings(patch),
        original.vit.embeddings.patch_embeddings(enlarged),
        rtol=1e-4,
        atol=1e-5,
    )
    model.save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    x = torch.randn(1, 3, 28, 28)
    with torch.no_grad():
        torch.testing.assert_close(again(pixel_values=x).logits, model(pixel_values=x).logits)


def test_an_input_size_goes_with_the_patch_size_or_is_refused(backbone):
    model, _ = build(backbone)
    with pytest.raises(MedvitError, match="patch size 8"):
        resize(model, 30)


@pytest.mark.parametrize("change", ["names", "size"])
def test_a_backbone_whose_weights_do_not_fit_is_refused(backbone, tmp_path, change):
    folder = shutil.copytree(backbone, tmp_path / "vit")
    if change == "names":
        weights = load_file(folder / "model.safetensors")
        renamed = {name.replace("vit.", "backbone.", 1): tensor for name, tensor in weights.items()}
        save_file(renamed, folder / "model.safetensors", {"format": "pt"})
    else:
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps(config | {"image_size": 24}))
    with pytest.raises(MedvitError, match=r"its weights lack vit\..*, or have another shape"):
        models.build("vit_finetuned", BLOOD, str(folder))


def test_an_unusable_backbone_is_explained(tmp_path):
    with pytest.raises(MedvitError, match="--backbone"):
        models.build("vit_finetuned", BLOOD, str(tmp_path / "nowhere"))
    model, _ = models.build("cnn", BLOOD)
    model.save_pretrained(tmp_path / "cnn")
    with pytest.raises(MedvitError, match="only ViT backbones"):
        models.build("vit_finetuned", BLOOD, str(tmp_path / "cnn"))
