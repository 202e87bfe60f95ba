"""Every architecture by its name: built, saved and loaded, sized as published."""

import subprocess
import sys

import pytest
import torch
from transformers import AutoImageProcessor, AutoModelForImageClassification

from medvit import models
from medvit.data import medmnist, synthetic
from medvit.errors import MedvitError
from medvit.explain import Explainer
from medvit.models.configs import FIELDS, CnnConfig, SptLsaConfig, VitConfig, check_fields
from tests.conftest import REPOSITORY, SHIPPED

BLOOD = medmnist.get("bloodmnist")


def build(name, backbone, **config):
    torch.manual_seed(0)
    model, preprocessing = models.build(name, BLOOD, str(backbone), **config)
    return model.eval(), preprocessing


@pytest.mark.parametrize("name", models.NAMES)
def test_models_save_and_load_the_hugging_face_way(name, backbone, tmp_path):
    model, preprocessing = build(name, backbone)
    model.save_pretrained(tmp_path)
    again = AutoModelForImageClassification.from_pretrained(tmp_path).eval()
    x = torch.randn(2, 3, preprocessing.size, preprocessing.size)
    with torch.no_grad():
        torch.testing.assert_close(again(pixel_values=x).logits, model(pixel_values=x).logits)
    assert again.config.id2label == dict(enumerate(BLOOD.classes))


@pytest.mark.parametrize("name", models.NAMES)
def test_models_return_a_loss_for_labels(name, backbone):
    model, preprocessing = build(name, backbone)
    x = torch.randn(3, 3, preprocessing.size, preprocessing.size)
    output = model(pixel_values=x, labels=torch.tensor([0, 1, 2]))
    expected = torch.nn.functional.cross_entropy(output.logits, torch.tensor([0, 1, 2]))
    torch.testing.assert_close(output.loss, expected)


def test_the_cnn_is_as_large_as_the_transformer_beside_it(backbone):
    cnn, transformer = (build(name, backbone)[0].num_parameters() for name in ("cnn", "spt_lsa"))
    assert abs(cnn / transformer - 1) < 0.05


def test_full_width_is_resnet_18(backbone):
    # The published ResNet-18 has 11,689,512; a 3x3 stem and eight classes take their difference off.
    expected = 11_689_512 - (7 * 7 - 3 * 3) * 3 * 64 - (1000 - 8) * 513
    assert build("cnn", backbone, width=64)[0].num_parameters() == expected


def test_each_part_of_spt_lsa_can_be_switched_off_alone(backbone):
    def count(**parts):
        return build("spt_lsa", backbone, **parts)[0].num_parameters()

    vanilla = build("vit", backbone)[0].num_parameters()
    assert count(spt=False, lsa=False) == vanilla
    assert count(spt=False) == vanilla + 9 * 12
    assert count(lsa=False) == vanilla + 4 * 48 * 192 + 2 * 240


def test_an_unknown_model_names_the_known_ones():
    with pytest.raises(MedvitError, match="cnn, vit, spt_lsa, vit_finetuned"):
        models.build("resnet", BLOOD)


@pytest.mark.parametrize(
    ("model", "name", "value", "message"),
    [
        ("vit", "num_attention_heads", 0, "must be a whole number from 1 to 4096, not 0"),
        ("vit", "patch_size", 0, "must be a whole number from 1 to 4096, not 0"),
        ("vit", "num_hidden_layers", -1, "must be a whole number from 1 to 4096, not -1"),
        ("spt_lsa", "hidden_size", "x", 'must be a whole number from 1 to 4096, not "x"'),
        ("spt_lsa", "lsa", 1, "must be true or false, not 1"),
        ("spt_lsa", "drop_path", float("nan"), "must be a number from 0 to below 1, not NaN"),
        ("cnn", "depths", [2, 0], r"must be a list of 1 to 8 whole numbers above zero, not \[2, 0\]"),
        ("cnn", "num_labels", 5, "Neither a recipe nor the architecture of cnn has num_labels"),
        ("vit_finetuned", "hidden_size", 8, "Neither a recipe nor the architecture of vit_finetuned has"),
    ],
)
def test_a_field_of_an_architecture_is_checked(model, name, value, message):
    with pytest.raises(MedvitError, match=message):
        check_fields(model, {name: value})


def test_the_defaults_of_an_architecture_are_allowed():
    for model, config in {"cnn": CnnConfig(), "vit": VitConfig(), "spt_lsa": SptLsaConfig()}.items():
        check_fields(model, {name: getattr(config, name) for name in FIELDS[model]})


@pytest.mark.parametrize(
    ("image_size", "patch_size", "sizes"),
    [(100, None, "98 and 104"), (30, None, "28 and 32"), (3, None, "4"), (100, 16, "96 and 112")],
)
def test_an_input_that_patches_do_not_divide_names_sizes_that_are_possible(image_size, patch_size, sizes):
    for name in ("vit", "spt_lsa"):
        with pytest.raises(MedvitError, match=rf"image_size {image_size} .* are possible: {sizes}\. Choose"):
            models.check_image_size(name, image_size, patch_size)
    for possible in map(int, sizes.split(" and ")):
        models.check_image_size("vit", possible, patch_size)
    models.check_image_size("cnn", image_size)
    models.check_image_size("vit_finetuned", image_size, patch_size)


@pytest.mark.parametrize("checkpoint", SHIPPED, ids=lambda item: f"{item.dataset.name}-{item.model_name}")
def test_a_shipped_folder_works_as_the_auto_classes_load_it(checkpoint):
    """The stored dtype, float16, stays: the model still takes what its processor gives."""
    model = AutoModelForImageClassification.from_pretrained(checkpoint.folder)
    inputs = AutoImageProcessor.from_pretrained(checkpoint.folder)(
        synthetic.draw(checkpoint.dataset.name, 0), return_tensors="pt"
    )
    assert model.dtype == torch.float16
    for grad in (False, True):
        with torch.set_grad_enabled(grad):
            output = model(**inputs, output_attentions=True)
        if checkpoint.model_name != "cnn":
            assert len(output.attentions) == model.config.num_hidden_layers
            assert all(weights.ndim == 4 for weights in output.attentions)
    with torch.no_grad():
        expected = checkpoint.model(inputs["pixel_values"]).logits
    torch.testing.assert_close(output.logits.detach().float(), expected, atol=0.05, rtol=0.02)
    result = Explainer(model)(synthetic.draw(checkpoint.dataset.name, 0))
    torch.testing.assert_close(result.logits, expected[0], atol=1e-4, rtol=1e-4)
    assert model.dtype == torch.float16


def test_shipped_folders_are_all_there():
    assert len(SHIPPED) == 20


@pytest.mark.parametrize(
    "imports",
    [
        "import medvit; from transformers import AutoConfig, AutoModelForImageClassification as Auto",
        "from transformers import AutoModelForImageClassification as Auto; import medvit",
        "import medvit, transformers; Auto = transformers.AutoModelForImageClassification",
    ],
)
def test_importing_medvit_is_enough_for_the_auto_classes(imports, tmp_path):
    model, _ = models.build("spt_lsa", BLOOD, num_hidden_layers=1)
    model.save_pretrained(tmp_path)
    code = f"""{imports}
from transformers import AutoConfig
assert AutoConfig.from_pretrained({str(tmp_path)!r}).model_type == "medvit_spt_lsa"
print(type(Auto.from_pretrained({str(tmp_path)!r})).__name__)"""
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.strip() == "SptLsaForImageClassification", done.stderr


def test_importing_medvit_imports_neither_torch_nor_transformers():
    code = "import sys, medvit; print({'torch', 'transformers'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
