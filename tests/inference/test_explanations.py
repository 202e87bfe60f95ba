"""Maps of many pictures, and the page that shows them."""

from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from medvit import imaging
from medvit.data import synthetic
from medvit.errors import MedvitError
from medvit.inference import bulk, explanations, external


@pytest.fixture(scope="module")
def predictor(own_models):
    return external.open_models([str(own_models / "vit")])[0]


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for i, name in enumerate(("a.png", "<img src=x>.png", "ä ö.png")):
        Image.fromarray(synthetic.draw("bloodmnist", i)).resize((60, 60)).save(folder / name)
    (folder / "damaged.png").write_bytes((folder / "a.png").read_bytes()[:100])
    return folder


class Images(HTMLParser):
    """The addresses and the alternative texts of the images of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.images: list[dict] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        if tag == "img":
            self.images.append(dict(attributes))


def test_each_picture_is_on_the_page_and_a_damaged_one_stops_nothing(predictor, pictures, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    files = bulk.list_files([pictures])
    items = list(explanations.explain_files(predictor, files, "relevance", out))
    page = explanations.write_page(out, predictor, "relevance", items).read_text()
    images = Images(page).images
    assert len(images) == 6
    assert all((out / image["src"]).is_file() and image["alt"] for image in images)
    assert "3 pictures; 1 could not be read" in page
    assert "<b>damaged.png</b>: The image is damaged" in page
    assert "<img src=x>" not in page
    assert "&lt;img src=x&gt;.png" in page
    assert "&lt;b&gt;hat&lt;/b&gt;" in page


def test_the_map_is_that_of_the_explainer(predictor, pictures, tmp_path):
    (file,) = bulk.list_files([pictures / "a.png"])
    (item,) = explanations.explain_files(predictor, [file], "relevance", tmp_path, target=1)
    pixels = imaging.to_tensor(predictor.source(pictures / "a.png")[None])
    result, of_file = predictor.explainer(pixels, target=1), predictor.explainer(pictures / "a.png", target=1)
    np.testing.assert_allclose(
        result.heatmap("relevance", 1), of_file.heatmap("relevance", 1), rtol=1e-4, atol=1e-7
    )
    assert item.target == "dog"
    assert item.classes[0][1] == pytest.approx(float(result.probabilities.max()), abs=1e-5)
    written = np.asarray(Image.open(tmp_path / item.overlay), int)
    expected = np.asarray(result.overlay("relevance", 1), int)
    assert np.abs(written - expected).max() <= 1


def test_a_map_without_a_class_names_none(predictor, pictures, tmp_path):
    (item,) = explanations.explain_files(
        predictor, bulk.list_files([pictures / "a.png"]), "rollout", tmp_path, target=1
    )
    assert item.target == ""


def test_a_method_that_does_not_fit_is_refused_before_the_first_picture(own_models):
    resnet = external.open_models([str(own_models / "resnet")])[0]
    assert explanations.check_method(resnet, "auto") == "grad_cam"
    with pytest.raises(MedvitError, match="The maps of this model are: grad_cam"):
        explanations.check_method(resnet, "rollout")


@pytest.mark.parametrize("method", ["relevance", "grad_cam", "rollout"])
def test_a_picture_is_run_once(predictor, pictures, tmp_path, method):
    passes = []
    model = predictor.explainer.model
    with model.register_forward_hook(lambda *_: passes.append(1)):
        files = bulk.list_files([pictures / "a.png"])
        (item,) = explanations.explain_files(predictor, files, method, tmp_path)
    assert len(passes) == 1
    expected = predictor.predict(predictor.source(pictures / "a.png"))
    assert item.classes[0] == (expected.label, pytest.approx(expected.display_probs.max(), abs=1e-5))
