"""The case report: everything that was seen, in one file that loads nothing."""

from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest

import medvit
from medvit import checkpoint
from medvit.data import synthetic
from medvit.inference import prediction_report
from medvit.inference.registry import Registry
from medvit.ui.app import build

MADE = datetime(2031, 2, 3, 4, 5, tzinfo=UTC)


@pytest.fixture(scope="module")
def predictor():
    return medvit.load("retinamnist", "vit_finetuned")


@pytest.fixture(scope="module")
def prediction(predictor):
    return predictor.predict(synthetic.draw("retinamnist", 1))


def render(predictor, prediction, **options):
    maps = {name: predictor.heatmap(prediction, name) for name in ("rollout", "grad_cam")}
    return prediction_report.render(prediction, maps, predictor.checkpoint, MADE, **options)


class Addresses(HTMLParser):
    """Every address that a page names, and the tags it has."""

    def __init__(self):
        super().__init__()
        self.found, self.tags = [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.found += [
            value for name, value in attributes if name in ("src", "href", "srcset", "action", "data")
        ]


def test_the_page_loads_and_runs_nothing(predictor, prediction):
    page = render(predictor, prediction)
    seen = Addresses()
    seen.feed(page)
    assert len(seen.found) == 3  # the image and two maps
    assert all(address.startswith("data:image/png;base64,") for address in seen.found)
    assert "script" not in seen.tags
    assert "default-src 'none'" in page
    assert "url(" not in page
    assert "@import" not in page


def test_it_says_what_was_asked_answered_and_by_which_model(predictor, prediction):
    page = render(predictor, prediction, origin="test image 7", truth=2)
    card = predictor.checkpoint.card
    verdict = "right" if prediction.top == 2 else "wrong"
    for words in (
        "RetinaMNIST", "2031-02-03 04:05 UTC", "Test image 7", f"the model is {verdict}", "not for diagnosis",
        card["sha256"], f"{card['test']['accuracy']:.1%}", "Rollout.", "Grad-CAM.", "CC BY 4.0",
        medvit.__version__, f"{prediction.probabilities.max():.1%}",
    ):  # fmt: skip
        assert words in page
    assert "$" not in page


def test_what_a_checkpoint_says_of_itself_is_escaped(predictor, prediction):
    evil = "<script>alert(1)</script>"
    found = replace(predictor.checkpoint, card=predictor.checkpoint.card | {"backbone": evil})
    odd = replace(prediction, classes=(evil, *prediction.classes[1:]))
    page = prediction_report.render(odd, {}, found, MADE, origin=evil)
    assert "<script" not in page
    assert "&lt;script&gt;" in page


def test_the_same_case_gives_the_same_page(predictor, prediction):
    assert render(predictor, prediction) == render(predictor, prediction)


def test_the_button_saves_the_case_on_the_table():
    registry = Registry.open(checkpoint.DEFAULT_ROOT, "/nonexistent")
    fns = build(registry).fns.values()
    make = next(one.fn for one in fns if one.fn and one.fn.__module__ == "medvit.ui.panels.report_button")
    with pytest.raises(Exception, match="nothing to report"):
        make(None, None, 0)
    for model in ("cnn", "spt_lsa"):
        case = registry.examples("breastmnist")[0]
        name, page = make(registry.predictor("breastmnist", model).predict(case.source), case, 0.95)
        assert name.startswith(f"medvit-breastmnist-{model}-")
        assert name.endswith(".html")
        assert ("Rollout." in page) == (model == "spt_lsa")
        assert "Phantom 0, a drawing" in page
        assert "95% prediction set" in page
