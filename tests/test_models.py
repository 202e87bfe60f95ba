import pytest
import torch
import torch.nn.functional as F
from transformers import AutoModelForImageClassification, ViTForImageClassification

from medvit import models
from medvit.data import medmnist
from medvit.errors import MedvitError
from medvit.models.attention import recording
from medvit.models.pretrained import resize
from medvit.models.spt_lsa import (
    LocalitySelfAttention,
    ShiftedPatchTokenization,
    SptLsaConfig,
    diagonal_shifts,
)

BLOOD = medmnist.get("bloodmnist")


def build(name, backbone, **config):
    torch.manual_seed(0)
    model, preprocessing = models.build(name, BLOOD, str(backbone), **config)
    return model.eval(), preprocessing


def test_diagonal_shifts_by_hand():
    image = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]).view(1, 1, 3, 3)
    same, up_left, up_right, down_left, down_right = diagonal_shifts(image, 1)[0]
    assert same.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert up_left.tolist() == [[5, 6, 0], [8, 9, 0], [0, 0, 0]]
    assert up_right.tolist() == [[0, 4, 5], [0, 7, 8], [0, 0, 0]]
    assert down_left.tolist() == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]
    assert down_right.tolist() == [[0, 0, 0], [0, 1, 2], [0, 4, 5]]


def test_a_shifted_patch_token_sees_half_a_patch_beyond_its_own():
    config = SptLsaConfig(image_size=12, patch_size=4)
    tokens = ShiftedPatchTokenization(config)
    image = torch.rand(1, 3, 12, 12, requires_grad=True)
    tokens(image)[0, 4].sum().backward()  # the middle of 3 x 3 patches, pixels 4 to 7
    seen = image.grad.abs().sum((0, 1)) > 0
    expected = torch.zeros(12, 12, dtype=torch.bool)
    for y, x in ((4, 4), (2, 2), (2, 6), (6, 2), (6, 6)):
        expected[y : y + 4, x : x + 4] = True
    assert torch.equal(seen, expected)
    assert tokens.projection.in_features == 4 * 4 * 3 * 5


def test_locality_self_attention_by_hand():
    attention = LocalitySelfAttention(SptLsaConfig(hidden_size=2, num_attention_heads=1))
    assert attention.temperature.item() == pytest.approx(2**-0.5)
    with torch.no_grad():
        attention.temperature.fill_(2.0)
    q = torch.tensor([[1.0, 0], [0, 1], [1, 1]]).view(1, 1, 3, 2)
    with torch.no_grad(), recording() as record:
        attention.attend(q, q, q)
    (weights,) = record.attentions()
    e = torch.tensor(2.0).exp().item()
    # Scores are 2 q.k; each row leaves its own entry out: (0, 2), (0, 2), (2, 2).
    expected = torch.tensor([[0, 1 / (1 + e), e / (1 + e)], [1 / (1 + e), 0, e / (1 + e)], [0.5, 0.5, 0]])
    torch.testing.assert_close(weights[0, 0], expected)


def test_the_temperature_is_learned_per_head():
    attention = LocalitySelfAttention(SptLsaConfig())
    assert attention.temperature.shape == (12, 1, 1)
    torch.testing.assert_close(attention.temperature, torch.full((12, 1, 1), 16**-0.5))
    assert attention.temperature.requires_grad


@pytest.mark.parametrize("name", ["vit", "spt_lsa", "vit_finetuned"])
def test_attentions_are_rows_of_weights(name, backbone):
    model, preprocessing = build(name, backbone)
    if name == "vit_finetuned":
        model.set_attn_implementation("eager")
    with torch.no_grad():
        output = model(
            pixel_values=torch.randn(2, 3, preprocessing.size, preprocessing.size), output_attentions=True
        )
    assert len(output.attentions) == model.config.num_hidden_layers
    for weights in output.attentions:
        torch.testing.assert_close(weights.sum(-1), torch.ones(weights.shape[:3]))
        if name == "spt_lsa":
            assert weights.diagonal(dim1=-2, dim2=-1).abs().max() == 0


@pytest.mark.parametrize("name", ["vit", "spt_lsa"])
def test_logits_do_not_depend_on_whether_attentions_are_asked_for(name, backbone):
    model, _ = build(name, backbone)
    x = torch.randn(2, 3, 28, 28)
    with torch.no_grad():
        plain, watched = model(pixel_values=x), model(pixel_values=x, output_attentions=True)
    torch.testing.assert_close(plain.logits, watched.logits, atol=1e-5, rtol=1e-5)
    assert plain.attentions is None


@pytest.mark.parametrize("name", ["vit", "spt_lsa"])
def test_what_training_leaves_out_changes_neither_logits_nor_gradients(name, backbone):
    model, _ = build(name, backbone, drop_path=0.0)
    x, tokens = torch.randn(2, 3, 28, 28), []
    model.blocks[-1].register_forward_hook(lambda _module, _inputs, output: tokens.append(output.shape[1]))
    answers = []
    for training in (False, True):
        model.train(training).zero_grad()
        logits = model(pixel_values=x).logits
        logits[:, 3].sum().backward()
        answers.append([logits, *(parameter.grad.clone() for parameter in model.parameters())])
    assert tokens == [50, 1]
    for whole, lean in zip(*answers, strict=True):
        torch.testing.assert_close(lean, whole, atol=1e-5, rtol=1e-4)
    assert model(pixel_values=x, output_hidden_states=True).hidden_states[-1].shape == (2, 50, 192)


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


def test_a_backbone_gets_a_new_head_and_keeps_the_rest(backbone):
    original = ViTForImageClassification.from_pretrained(backbone)
    model, preprocessing = build("vit_finetuned", backbone)
    assert model.classifier.out_features == 8
    assert preprocessing.size == 32
    torch.testing.assert_close(
        model.vit.embeddings.position_embeddings, original.vit.embeddings.position_embeddings
    )
    torch.testing.assert_close(model.vit.layers[0].mlp.fc1.weight, original.vit.layers[0].mlp.fc1.weight)


def test_another_input_size_interpolates_the_position_embedding(backbone, tmp_path):
    model, preprocessing = build("vit_finetuned", backbone, image_size=64)
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
    model, preprocessing = build("vit_finetuned", backbone, image_size=28)
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
    model, _ = build("vit_finetuned", backbone)
    with pytest.raises(MedvitError, match="patch size 8"):
        resize(model, 30)


def test_an_unusable_backbone_is_explained(tmp_path):
    with pytest.raises(MedvitError, match="--backbone"):
        models.build("vit_finetuned", BLOOD, str(tmp_path / "nowhere"))
    model, _ = models.build("cnn", BLOOD)
    model.save_pretrained(tmp_path / "cnn")
    with pytest.raises(MedvitError, match="only ViT backbones"):
        models.build("vit_finetuned", BLOOD, str(tmp_path / "cnn"))


def test_an_unknown_model_names_the_known_ones():
    with pytest.raises(MedvitError, match="cnn, vit, spt_lsa, vit_finetuned"):
        models.build("resnet", BLOOD)
