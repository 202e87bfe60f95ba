"""What the screens compute, without a browser."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

import medvit
from medvit import figures, phantoms
from medvit.ui import believe, compare, erase


@pytest.fixture(scope="module")
def predictor(trained):
    return medvit.load("breastmnist", "spt_lsa", root=trained)


@pytest.fixture(scope="module")
def prediction(predictor):
    return predictor.predict(phantoms.draw("breastmnist", 0))


def painted(source, box):
    """The picture that is shown of a source, with a magenta box in source pixels."""
    picture = figures.enlarge(source)
    picture.paste((255, 0, 255), tuple(12 * side for side in box))
    return picture


def test_what_is_painted_over_is_found_pixel_by_pixel(prediction):
    erased = erase.painted_over(prediction.source, painted(prediction.source, (3, 5, 9, 11)))
    expected = torch.zeros(28, 28, dtype=torch.bool)
    expected[5:11, 3:9] = True
    assert torch.equal(erased, expected)
    assert not erase.painted_over(prediction.source, figures.enlarge(prediction.source)).any()


@pytest.mark.parametrize("filling", erase.FILLINGS)
def test_only_what_is_painted_over_is_filled_in(prediction, filling):
    erased = torch.zeros(28, 28, dtype=torch.bool)
    erased[5:11, 3:9] = True
    filled = erase.fill_in(prediction.seen.pixels, erased, filling)
    changed = (filled != prediction.seen.pixels).any(1)[0]
    assert not changed[~erased].any()
    assert changed[erased].float().mean() > 0.9


def test_the_mean_is_that_of_what_lies_around():
    pixels = torch.zeros(1, 3, 28, 28)
    pixels[..., :14] = 200
    erased = torch.zeros(28, 28, dtype=torch.bool)
    erased[10:14, 2:6] = True  # far from the dark half
    assert (erase.fill_in(pixels, erased, "mean")[..., erased] == 200).all()
    everything = torch.ones(28, 28, dtype=torch.bool)
    assert (erase.fill_in(pixels, everything, "mean") == 100).all()


def sent(name, kind="composite", content=b"bytes", index=None):
    return SimpleNamespace(data={"type": kind, "id": name, "index": index}, files=[("file", content)])


def test_the_canvas_keeps_few_pictures_and_only_whole_ones():
    canvas = erase.canvas()
    canvas.accept_blobs(sent("mine", content=b"my picture"))
    canvas.accept_blobs(sent("layers", kind="layer", index=10**9))  # would be a list of as many places
    assert canvas.preprocess(SimpleNamespace(id="layers", composite=None)) is None
    assert canvas.preprocess(SimpleNamespace(id="mine", composite=None)) == b"my picture"
    for i in range(erase.WAITING + 1):
        canvas.accept_blobs(sent(f"flood {i}"))
    assert canvas.preprocess(SimpleNamespace(id="flood 0", composite=None)) is None
    assert canvas.preprocess(SimpleNamespace(id="flood 1", composite=None)) == b"bytes"


def test_agreement_is_said_in_one_line():
    said = [SimpleNamespace(label=label) for label in ("a", "b", "a")]
    assert compare.agreement(said[:1] * 3) == "All 3 models say <b><span title='a'>a</span></b>."
    assert "disagree: 2 say" in compare.agreement(said)


def judged(gain, error, shuffled=0.0):
    one = {"gain": gain, "gain_error": error, "shuffled": shuffled}
    other = {"gain": 0.3, "gain_error": 0.01, "shuffled": 0.0}
    card = {"explanations": {"images": 50, "methods": {"attention": one, "grad_cam": other}}}
    return believe.verdict(SimpleNamespace(card=card), "attention")


def test_a_map_is_trusted_only_when_it_surely_beats_chance():
    assert "better than chance: +0.20" in judged(0.2, 0.05)
    assert "not surely" not in judged(0.2, 0.05)
    assert "not surely better than chance" in judged(0.2, 0.15)
    assert "ranks 2 of 2; best is Grad-CAM (+0.30)" in judged(0.2, 0.05)


def test_a_map_that_ignores_the_weights_is_flagged():
    assert "shuffled weights" in judged(0.2, 0.05, shuffled=0.8)
    assert "shuffled weights" not in judged(0.2, 0.05, shuffled=0.2)
    assert "Not measured" in believe.verdict(SimpleNamespace(card={}), "attention")


def test_a_strip_frames_the_chosen_map():
    maps = [np.full((7, 7), share) for share in (0.0, 0.5, 1.0)]
    sheet = np.asarray(figures.strip(maps, chosen=1).convert("RGB"))
    step = figures.TILE + figures.GAP
    assert sheet.shape[:2] == (figures.TILE + 2 * figures.GAP, 3 * step + figures.GAP)
    frame = tuple(int(figures.ACCENT[i : i + 2], 16) for i in (1, 3, 5))
    assert [tuple(sheet[1, figures.GAP + i * step + 5]) == frame for i in range(3)] == [False, True, False]
    assert len({tuple(sheet[20, figures.GAP + i * step + 20]) for i in range(3)}) == 3


def test_a_signed_map_is_grey_where_it_is_zero():
    source = np.zeros((28, 28, 3), np.uint8)
    values = np.array([[-1.0, -1, 0, 0, 1, 1]] * 6, np.float32)
    picture = np.asarray(figures.overlay(source, values, opacity=1.0)).astype(int)
    blue, grey, red = picture[168, 10], picture[168, 168], picture[168, -10]
    assert blue[2] > blue[0] + 60
    assert red[0] > red[2] + 60
    assert np.ptp(grey) < 12
    untouched = np.asarray(figures.overlay(source, values, opacity=0.0))
    np.testing.assert_array_equal(untouched, np.asarray(Image.new("RGB", (336, 336))))
