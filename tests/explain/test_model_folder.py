"""Models by folder, hub id and name of timm: what is opened, and what is refused in one sentence."""

import json
import shutil

import numpy as np
import pytest
import timm
import torch
from huggingface_hub import constants
from PIL import Image
from transformers import AutoImageProcessor, AutoModelForImageClassification, ViTConfig

from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.explain import Explainer
from medvit.explain.model_folder import class_names, find_folder, open_model

from .conftest import small_vit

PICTURE = Image.fromarray(synthetic.draw("bloodmnist", 1)).resize((90, 70))


@pytest.mark.parametrize("name", ["vit", "resnet"])
def test_a_model_of_transformers_predicts_what_it_predicts_there(own_models, name):
    folder = own_models / name
    model = AutoModelForImageClassification.from_pretrained(folder).eval()
    inputs = AutoImageProcessor.from_pretrained(folder)(PICTURE, return_tensors="pt")
    with torch.no_grad():
        expected = model(**inputs).logits[0]
    torch.testing.assert_close(Explainer(folder)(PICTURE).logits, expected, atol=1e-5, rtol=1e-4)


def test_a_model_of_timm_predicts_what_it_predicts_there(own_models):
    folder = own_models / "timm"
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    explainer = Explainer(folder)
    with torch.no_grad():
        expected = model(transform(PICTURE)[None])[0]
    torch.testing.assert_close(explainer(PICTURE).logits, expected, atol=1e-5, rtol=1e-4)
    assert explainer.preparation.input_size == (64, 64)
    assert explainer.classes == ("a", "b", "c")


def test_classes_have_the_names_of_the_model(own_models):
    assert Explainer(own_models / "vit").classes == ("cat", "dog", "<b>hat</b>")
    assert Explainer(own_models / "imagenet").classes[999] == "LABEL_999"


def test_a_head_that_was_replaced_does_not_have_the_names_of_the_former_one():
    model = small_vit(num_labels=10)
    model.config.id2label = {i: f"animal {i}" for i in range(10)}
    assert class_names(model, 10)[3] == "animal 3"
    assert class_names(model, 3) == ("class 0", "class 1", "class 2")


def test_classes_without_names_and_with_the_same_name_are_told_apart():
    assert class_names(torch.nn.Linear(1, 2), 2) == ("class 0", "class 1")
    model = timm.create_model("resnet10t", num_classes=3)
    model.pretrained_cfg = {"label_names": ["crane", "crane", " "]}
    assert class_names(model, 3) == ("crane [0]", "crane [1]", "class 2")
    model.pretrained_cfg = {"label_names": ["a", "a", "a [0]"]}
    assert class_names(model, 3) == ("a [0] [0]", "a [1]", "a [0] [2]")
    names = class_names(timm.create_model("resnet10t"), 1000)
    assert names[281].startswith("tabby")
    assert len(set(names)) == 1000


@pytest.mark.parametrize(
    "name",
    [
        "no_such_model",
        "no/such-model",
        "/no/such/folder",
        "a/b/c",
        "../x",
        "",
        "~nouser/m",
        "a\0b",
        "a" * 5000,
    ],
)
def test_a_wrong_name_is_one_sentence(name):
    with pytest.raises(MedvitError) as refused:
        find_folder(name)
    assert "There is no" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_similar_name_of_timm_is_proposed():
    with pytest.raises(MedvitError, match="vit_tiny_patch16_224"):
        find_folder("vit_tiny_patch16_225")


@pytest.fixture
def copied(own_models, tmp_path):
    """`copied(name)`: a copy of a model's folder that may be changed."""
    return lambda name: shutil.copytree(own_models / name, tmp_path / name)


def test_other_files_of_weights_are_never_read(copied):
    folder = copied("vit")
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(MedvitError, match="no model.safetensors"):
        open_model(folder)


def test_a_folder_that_is_no_model_is_refused(tmp_path, own_models):
    with pytest.raises(MedvitError, match="config.json is missing"):
        open_model(tmp_path)
    with pytest.raises(MedvitError, match="subfolders, such as blood, imagenet, resnet"):
        open_model(own_models)


def change_config(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def test_a_head_without_weights_is_refused(copied):
    folder = copied("vit")
    change_config(folder, id2label={str(i): str(i) for i in range(9)}, label2id={})
    with pytest.raises(MedvitError, match="no trained image classifier|cannot be loaded"):
        open_model(folder)


def test_a_model_without_preprocessing_says_where_to_get_it(copied):
    folder = copied("vit")
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(MedvitError, match="preprocessor_config.json is missing"):
        open_model(folder)


def test_the_configuration_of_a_processor_with_a_tokenizer_is_read(copied):
    folder = copied("vit")
    before = open_model(folder)[1].to_dict()
    path = folder / "preprocessor_config.json"
    config = {"image_processor": json.loads(path.read_text()), "processor_class": "CLIPProcessor"}
    (folder / "processor_config.json").write_text(json.dumps(config))
    path.unlink()
    assert open_model(folder)[1].to_dict() == before


def test_code_that_comes_with_a_model_is_not_run(copied, tmp_path):
    folder = copied("vit")
    mark = tmp_path / "ran"
    (folder / "model.py").write_text(f"open({str(mark)!r}, 'w')")
    change_config(folder, auto_map={"AutoModelForImageClassification": "model.Model"}, model_type="mine")
    with pytest.raises(MedvitError, match="cannot be"):
        open_model(folder)
    assert not mark.exists()


@pytest.mark.parametrize(
    "arguments", [{"checkpoint_path": "other.pth"}, {"pretrained": True}, {"pretrained_cfg": {"file": "x"}}]
)
def test_a_configuration_of_timm_cannot_name_other_files(copied, arguments):
    folder = copied("timm")
    change_config(folder, model_args=arguments)
    with pytest.raises(MedvitError, match="model_args"):
        open_model(folder)


@pytest.mark.parametrize("architecture", ["hf-hub:someone/model", "local-dir:/tmp", "no_such_model", 3])
def test_a_configuration_of_timm_names_an_architecture(copied, architecture):
    folder = copied("timm")
    change_config(folder, architecture=architecture)
    with pytest.raises(MedvitError):
        open_model(folder)


@pytest.mark.parametrize("name", ["vit", "timm"])
@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff", b"{}", b"[" * 5000])
def test_a_damaged_configuration_is_one_sentence(copied, name, content):
    folder = copied(name)
    (folder / "config.json").write_bytes(content)
    with pytest.raises(MedvitError) as refused:
        open_model(folder)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["vit", "timm"])
def test_damaged_weights_are_one_sentence(copied, name):
    folder = copied(name)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(MedvitError) as refused:
        open_model(folder)
    assert "\n" not in str(refused.value)


def test_a_folder_written_by_the_trainer_is_opened(own_models, tmp_path):
    from transformers import Trainer, TrainingArguments

    model = AutoModelForImageClassification.from_pretrained(own_models / "vit")
    processor = AutoImageProcessor.from_pretrained(own_models / "vit")
    arguments = TrainingArguments(str(tmp_path / "run"), report_to=[], use_cpu=True)
    Trainer(model, arguments, processing_class=processor).save_model()
    assert (tmp_path / "run" / "training_args.bin").is_file()
    result = Explainer(tmp_path / "run")(np.asarray(PICTURE))
    assert result.heatmap("auto").shape == (4, 4)


def test_a_hub_id_is_opened_from_the_cache_without_a_network(own_models, tmp_path, monkeypatch):
    commit = "0123456789" * 4
    repository = tmp_path / "models--someone--vit"
    shutil.copytree(own_models / "vit", repository / "snapshots" / commit)
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(commit)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    from_hub, from_folder = Explainer("someone/vit")(PICTURE), Explainer(own_models / "vit")(PICTURE)
    torch.testing.assert_close(from_hub.logits, from_folder.logits)
    with pytest.raises(MedvitError, match="model someone/other cannot be fetched"):
        find_folder("someone/other")


def test_a_model_that_cannot_be_run_is_one_sentence(copied):
    folder = copied("vit")
    sizes = dict(hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48)
    AutoModelForImageClassification.from_config(ViTConfig(num_channels=4, **sizes)).save_pretrained(folder)
    with pytest.raises(MedvitError, match="The model .* cannot be run: "):
        Explainer(folder)
