"""The prediction report: one file with everything about a prediction, which loads nothing."""

from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

import medvit
from medvit.data import synthetic
from medvit.evaluation.model_card import ModelCard
from medvit.inference import prediction_report

TIME = datetime(2031, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def predictor():
    return medvit.load("retinamnist", "vit_finetuned")


@pytest.fixture(scope="module")
def prediction(predictor):
    return predictor.predict(synthetic.draw("retinamnist", 1))


@pytest.fixture(scope="module")
def maps(predictor, prediction):
    return {name: predictor.heatmap(prediction, name) for name in ("rollout", "grad_cam")}


class Page(HTMLParser):
    """Addresses and tags of a page."""

    def __init__(self, text: str):
        super().__init__()
        self.addresses: list[str] = []
        self.tags: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        names = ("src", "href", "srcset", "action", "data")
        self.addresses += [value for name, value in attributes if name in names]


def test_the_page_loads_and_runs_nothing(predictor, prediction, maps):
    text = prediction_report.render(prediction, maps, predictor.model_card(), TIME)
    page = Page(text)
    assert len(page.addresses) == 3  # the image and two maps
    assert all(address.startswith("data:image/png;base64,") for address in page.addresses)
    assert "script" not in page.tags
    assert "default-src 'none'" in text
    assert "url(" not in text
    assert "@import" not in text


def test_it_shows_image_prediction_and_model(predictor, prediction, maps):
    text = prediction_report.render(
        prediction, maps, predictor.model_card(), TIME, origin="test image 7", truth=2, level=0.95
    )
    card = predictor.checkpoint.card
    verdict = "right" if prediction.top == 2 else "wrong"
    for words in (
        "RetinaMNIST", "2031-02-03 04:05 UTC", "Test image 7", f"the model is {verdict}", "not for diagnosis",
        card["sha256"], f"{card['test']['accuracy']:.1%}", "Rollout.", "Grad-CAM.", "CC BY 4.0",
        medvit.__version__, f"{prediction.display_probs.max():.1%}", "95% prediction set",
    ):  # fmt: skip
        assert words in text
    assert "{{" not in text


def test_text_from_a_checkpoint_is_escaped(predictor, prediction):
    script = "<script>alert(1)</script>"
    checkpoint = replace(predictor.checkpoint, card=predictor.checkpoint.card | {"backbone": script})
    dataset = replace(prediction.dataset, classes=(script, *prediction.classes[1:]))
    renamed = replace(prediction, dataset=dataset)
    text = prediction_report.render(renamed, {}, ModelCard.of(checkpoint), TIME, origin=script)
    assert "<script" not in text
    assert "&lt;script&gt;" in text


def test_the_same_prediction_gives_the_same_page(predictor, prediction, maps):
    pages = [prediction_report.render(prediction, maps, predictor.model_card(), TIME) for _ in range(2)]
    assert pages[0] == pages[1]
