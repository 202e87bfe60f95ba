"""The perturbation test: what is painted over, what replaces it, and the prediction without it."""

import io
from dataclasses import replace
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch
from PIL import Image

from medvit import plots
from medvit.ui.panels import perturbation

BOX = (3, 5, 9, 11)  # left, top, right, bottom in source pixels


@pytest.fixture(scope="module")
def panel(registry):
    with gr.Blocks():
        return perturbation.build(registry, gr.State())


@pytest.fixture(scope="module")
def answer(answer_of):
    return answer_of("breastmnist", "spt_lsa")


@pytest.fixture
def mask():
    mask = torch.zeros(28, 28, dtype=torch.bool)
    mask[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    return mask


def painted(source):
    """The displayed picture of a source, with a box painted over."""
    picture = plots.enlarge(source)
    picture.paste(perturbation.BRUSH, tuple(12 * side for side in BOX))
    return picture


def test_what_is_painted_over_is_found_pixel_by_pixel(answer, mask):
    source = answer.prediction.source
    assert torch.equal(perturbation.brush_mask(source, painted(source)), mask)
    assert not perturbation.brush_mask(source, plots.enlarge(source)).any()


def test_a_picture_that_is_not_square_is_in_the_middle_of_the_canvas():
    source = np.full((20, 40, 3), 200, np.uint8)
    canvas = Image.new("RGB", (plots.DISPLAY_SIDE, plots.DISPLAY_SIDE))
    picture = plots.enlarge(source)
    scale = picture.width / 40
    picture.paste(perturbation.BRUSH, tuple(round(scale * edge) for edge in (10, 5, 20, 15)))
    canvas.paste(picture, (0, (canvas.height - picture.height) // 2))
    mask = perturbation.brush_mask(source, canvas)
    expected = torch.zeros(20, 40, dtype=torch.bool)
    expected[5:15, 10:20] = True
    assert torch.equal(mask, expected)


@pytest.mark.parametrize("filling", perturbation.FILLINGS)
def test_only_what_is_painted_over_is_filled_in(answer, mask, filling):
    pixels = answer.prediction.forward_pass.pixels
    changed = (perturbation.fill_in(pixels, mask, filling) != pixels).any(1)[0]
    assert not changed[~mask].any()
    assert changed[mask].float().mean() > 0.9


def test_the_mean_is_that_of_the_surroundings():
    pixels = torch.zeros(1, 3, 28, 28)
    pixels[..., :14] = 200
    mask = torch.zeros(28, 28, dtype=torch.bool)
    mask[10:14, 2:6] = True  # far from the dark half
    assert (perturbation.fill_in(pixels, mask, "mean")[..., mask] == 200).all()
    assert (perturbation.fill_in(pixels, torch.ones_like(mask), "mean") == 100).all()


def test_the_attribution_mass_of_the_whole_image_is_one(registry, answer, mask):
    predictor = registry.predictor("breastmnist", "spt_lsa")
    masses = perturbation.attribution_mass(predictor, answer.prediction, torch.ones_like(mask))
    assert {round(mass, 3) for _, mass in masses} <= {0.0, 1.0}
    assert len(masses) == len(predictor.methods())


def test_the_table_compares_the_displayed_probabilities_before_and_after(panel, answer):
    uncalibrated = answer.prediction.probabilities[::-1].copy()  # far from the calibrated ones
    answer = replace(answer, prediction=replace(answer.prediction, probabilities=uncalibrated))
    content = io.BytesIO()
    painted(answer.prediction.source).save(content, "PNG")
    values = {panel.answer: answer, panel.editor: content.getvalue(), panel.filling: "blurred"}
    update, prediction = panel.predict_masked(values), answer.prediction
    result = update[panel.result]
    displayed, raw = (
        f"<td>{probs[prediction.top]:.1%}</td>"
        for probs in (prediction.display_probs, prediction.probabilities)
    )
    assert displayed != raw
    assert displayed in result
    assert "of the image removed" in result
    assert panel.discard(values | update) == gr.skip()
    assert panel.discard(values | update | {panel.answer: replace(answer)}) == {panel.result: ""}


@pytest.mark.parametrize("missing", ["answer", "paint", "canvas"])
def test_nothing_painted_is_one_sentence(panel, answer, missing):
    content = io.BytesIO()
    plots.enlarge(answer.prediction.source).save(content, "PNG")
    values = {panel.answer: answer, panel.editor: content.getvalue(), panel.filling: "blurred"}
    values |= {"answer": {panel.answer: None}, "canvas": {panel.editor: None}, "paint": {}}[missing]
    with pytest.raises(gr.Error, match="Nothing is painted"):
        panel.predict_masked(values)


def upload(name, kind="composite", content=b"bytes", index=None):
    return SimpleNamespace(data={"type": kind, "id": name, "index": index}, files=[("file", content)])


def test_the_canvas_keeps_few_pictures_and_only_whole_ones():
    canvas = perturbation.canvas()
    canvas.accept_blobs(upload("mine", content=b"my picture"))
    canvas.accept_blobs(upload("layers", kind="layer", index=10**9))  # would be a list of as many places
    assert canvas.preprocess(SimpleNamespace(id="layers", composite=None)) is None
    assert canvas.preprocess(SimpleNamespace(id="mine", composite=None)) == b"my picture"
    for i in range(perturbation.MAX_WAITING + 1):
        canvas.accept_blobs(upload(f"flood {i}"))
    assert canvas.preprocess(SimpleNamespace(id="flood 0", composite=None)) is None
    assert canvas.preprocess(SimpleNamespace(id="flood 1", composite=None)) == b"bytes"
    canvas.accept_blobs(upload("huge", content=bytes(perturbation.MAX_BYTES + 1)))
    assert canvas.preprocess(SimpleNamespace(id="huge", composite=None)) is None
