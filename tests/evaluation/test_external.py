"""A model that was not trained here is measured: classes by name, its own logits, a folder for the app."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import (
    AutoImageProcessor,
    AutoModelForImageClassification,
    ConvNextConfig,
    ResNetConfig,
    SwinConfig,
    ViTConfig,
)

from medvit import checkpoint, checkpoint_files, explain
from medvit.data import load_split, synthetic
from medvit.data.folder import open_dataset
from medvit.errors import MedvitError
from medvit.evaluation import external
from medvit.evaluation.model_card import markdown
from medvit.imaging import Preprocessing, to_tensor
from medvit.inference.predictor import Predictor
from tests.conftest import standardise_each_picture

NAMES = ["Tissue", "a cat", "blood_cell", "FUNDUS"]


def write_model(folder, kind="vit", names=NAMES, **config):
    torch.manual_seed(0)
    config |= dict(id2label=dict(enumerate(names)), label2id={name: i for i, name in enumerate(names)})
    sizes = dict(hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64)
    stages = dict(hidden_sizes=[8, 16], depths=[1, 1])
    swin = dict(patch_size=2, embed_dim=16, num_heads=[2], window_size=4)
    configs = {
        "vit": ViTConfig(**{"image_size": 32, "patch_size": 8} | sizes | config),
        "swin": SwinConfig(**{"image_size": 32, "depths": [1]} | swin | config),
        "resnet": ResNetConfig(embedding_size=8, **stages, **config),
        "convnext": ConvNextConfig(**{"image_size": 32, "num_stages": 2} | stages | config),
    }
    model = AutoModelForImageClassification.from_config(configs[kind])
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(Preprocessing(32).to_json()))
    return str(folder)


def write_model_of_timm(folder, name):
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    arguments = OF_TIMM[name] | dict(num_classes=len(NAMES))
    model = timm.create_model(name, **arguments)
    torch.nn.init.normal_(model.head.weight if hasattr(model, "head_dist") else model.get_classifier().weight)
    timm.models.save_for_hf(
        model, folder, model_config={"label_names": NAMES}, model_args=arguments, safe_serialization=True
    )
    return str(folder)


def measure(source, dataset, folder):
    """Open a model and write it as a checkpoint folder; the model and the checkpoint."""
    model = external.open_external(source, dataset)
    folder.mkdir()
    external.write_checkpoint(folder, model, external.restrict(model, dataset), dataset, 32)
    return model, checkpoint.load(folder)


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    monkeypatch.setenv("MEDVIT_CACHE", str(tmp_path / "cache"))
    return open_dataset(synthetic.write_pictures(tmp_path / "scans"), 32, announce=False)


def test_classes_match_by_name_and_others_are_listed():
    columns, left_out = external.match_classes(["Blood cell", "fundus"], NAMES, "model")
    assert columns == [2, 3]
    assert left_out == ["Tissue", "a cat"]


def test_classes_that_the_model_lacks_are_named_with_their_count():
    with pytest.raises(MedvitError, match="2 of the 3 classes .* are not classes of m: eye, ear"):
        external.match_classes(["fundus", "eye", "ear"], NAMES, "m")


def test_a_whole_name_comes_before_a_part_of_another():
    classes = [*map(str, range(600)), "ruffed grouse, partridge, Bonasa umbellus", "partridge"]
    assert external.match_classes(["partridge", "Ruffed grouse"], classes, "m")[0] == [601, 600]


def test_two_classes_of_the_same_name_are_refused():
    with pytest.raises(MedvitError, match=r"Classes that match several of .* \(1\): "):
        external.match_classes(["a b"], ["A-b", "a_B", "c"], "m")
    with pytest.raises(MedvitError, match="Several classes of the pictures"):
        external.match_classes(["a b", "a_b"], ["A b", "c"], "m")


def test_the_checkpoint_folder_has_the_logits_of_the_model_and_opens(dataset, tmp_path):
    model, written = measure(write_model(tmp_path / "vit"), dataset, tmp_path / "out")
    images, labels = load_split(dataset, "test")
    original = explain.Explainer(model.explainer.model, Preprocessing(32)).logits(to_tensor(images)).numpy()
    np.testing.assert_allclose(written.test_logits, original[:, [2, 3, 0]], atol=5e-3)
    np.testing.assert_array_equal(written.test_labels, labels)
    assert written.dataset == dataset
    assert written.origin == "not trained here, from vit"
    assert "not trained here" in markdown(written)
    assert str(tmp_path) not in (tmp_path / "out" / "card.json").read_text()


def test_the_accuracy_among_all_classes_counts_other_classes_as_wrong(dataset, tmp_path):
    model = external.open_external(write_model(tmp_path / "vit"), dataset)
    logits, labels = external.predict_split(model, dataset, "test", 32)
    assert logits.shape == (len(labels), 4)
    sure = np.eye(4)[np.array(model.columns)[labels]]
    assert external.among_all_classes(model, sure, labels) == 1
    sure[0] = [0, 9, 0, 0]  # a cat
    assert external.among_all_classes(model, sure, labels) == 1 - 1 / len(labels)


OF_TIMM = {
    "vit_tiny_patch16_224": dict(img_size=64, depth=2),
    "eva02_tiny_patch14_224": dict(img_size=56, depth=2),
    "vit_base_patch16_siglip_224": dict(img_size=64, depth=1, embed_dim=48, num_heads=3),
    "swin_tiny_patch4_window7_224": dict(img_size=64, depths=(1, 1)),
    "resnet10t": {},
}


@pytest.mark.parametrize("name", ["swin", "resnet", "convnext", *OF_TIMM])
def test_other_architectures_are_measured_and_opened(dataset, tmp_path, name):
    write = write_model_of_timm if name in OF_TIMM else write_model
    model, written = measure(write(tmp_path / name, name), dataset, tmp_path / "out")
    logits, labels = external.predict_split(model, dataset, "test", 32)
    assert logits.shape == (6, 4)
    np.testing.assert_allclose(written.test_logits, logits[:, [2, 3, 0]], atol=0.03)
    predictor = Predictor(written)
    source = load_split(dataset, "test")[0][0]
    assert np.isfinite(predictor.heatmap(predictor.predict(source), "grad_cam")).all()
    assert predictor.features(source).ndim == 1


def test_a_hierarchical_model_with_too_large_feature_maps_is_left_out(dataset, tmp_path):
    measure(write_model(tmp_path / "model", "swin"), dataset, tmp_path / "swin")
    config = json.loads((tmp_path / "swin" / "config.json").read_text())
    for change, problem in (
        ({"embed_dim": 200_000}, "feature maps have"),
        ({"num_heads": [0]}, "no usable 'num_heads'"),
        ({"depths": []}, "no usable 'depths'"),
    ):
        (tmp_path / "swin" / "config.json").write_text(json.dumps(config | change))
        with pytest.raises(MedvitError, match=problem):
            checkpoint.load(tmp_path / "swin")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"model_args": {"img_size": 64, "depth": 2, "num_heads": 192}}, "attention or feature maps have"),
        (
            {"model_args": {"img_size": 64, "depth": 2, "checkpoint_path": "x"}},
            "model_args that belong to no",
        ),
        ({"model_args": {"img_size": 64, "depth": 9}}, "do not fit|larger model than the weights"),
        ({"architecture": "hf-hub:someone/model"}, "names no architecture of timm"),
        ({"architecture": "no_such_model"}, "not usable"),
        ({"label_names": "abc"}, "classes in config.json are not those"),
        ({"image_size": 2**10}, "different image sizes"),
    ],
)
def test_a_changed_configuration_of_timm_is_left_out(dataset, tmp_path, monkeypatch, change, problem):
    monkeypatch.setattr(checkpoint_files, "MAX_VALUES", 100_000)
    name = "vit_tiny_patch16_224"
    _, written = measure(write_model_of_timm(tmp_path / "model", name), dataset, tmp_path / "out")
    path = written.folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(MedvitError, match=problem):
        _ = checkpoint.load(written.folder).model


def test_a_model_that_no_checkpoint_folder_can_hold_says_why(dataset, tmp_path, monkeypatch):
    monkeypatch.setitem(OF_TIMM, "deit_tiny_distilled_patch16_224", dict(img_size=64, depth=1))
    folder = write_model_of_timm(tmp_path / "deit", "deit_tiny_distilled_patch16_224")
    with pytest.raises(MedvitError, match="do not come from one linear layer"):
        external.restrict(external.open_external(folder, dataset), dataset)


def test_preprocessing_that_is_more_than_normalisation_is_refused(dataset, tmp_path, monkeypatch):
    folder = write_model(tmp_path / "vit")
    standardise_each_picture(monkeypatch)
    with pytest.raises(MedvitError, match="more than resizing and normalising"):
        external.open_external(folder, dataset)


def test_a_model_whose_input_is_not_square_is_measured_without_a_folder(dataset, tmp_path):
    folder = tmp_path / "wide"
    write_model(folder, image_size=[16, 48])
    processor = Preprocessing(32).to_json() | {"size": {"height": 16, "width": 48}}
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    model = external.open_external(str(folder), dataset)
    with pytest.raises(MedvitError, match="its input of 48 x 16 pixels is not square"):
        external.restrict(model, dataset)
    logits, labels = external.predict_split(model, dataset, "test", 32)
    images, _ = load_split(dataset, "test")
    pictures = [Image.fromarray(image) for image in images]
    inputs = AutoImageProcessor.from_pretrained(folder)(pictures, return_tensors="pt")["pixel_values"]
    assert inputs.shape[-2:] == (16, 48)
    with torch.no_grad():
        expected = AutoModelForImageClassification.from_pretrained(folder)(inputs).logits
    np.testing.assert_allclose(logits, expected, atol=0.01)  # Pillow and torchvision round the pixels


@pytest.mark.parametrize("missing", ["model.safetensors", "config.json"])
def test_a_folder_that_is_no_model_is_one_sentence(dataset, tmp_path, missing):
    folder = write_model(tmp_path / "vit")
    (tmp_path / "vit" / missing).unlink()
    with pytest.raises(MedvitError, match=missing.replace(".", r"\.")):
        external.open_external(folder, dataset)
    shutil.rmtree(tmp_path / "vit")
