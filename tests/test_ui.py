"""What the screens compute, without a browser."""

import io
import re
from pathlib import Path
from types import SimpleNamespace

import gradio as gr
import numpy as np
import pytest
import torch

import medvit
from medvit import plots
from medvit.data import medmnist, synthetic
from medvit.inference.registry import Registry, Sample
from medvit.ui import parts
from medvit.ui.app import build
from medvit.ui.components import thumbnail_strip
from medvit.ui.components.base import current
from medvit.ui.panels import faithfulness, heatmap, perturbation
from medvit.ui.tabs import compare

from .conftest import REPOSITORY


@pytest.fixture(scope="module")
def predictor(trained):
    return medvit.load("breastmnist", "spt_lsa", root=trained)


@pytest.fixture(scope="module")
def prediction(predictor):
    return predictor.predict(synthetic.draw("breastmnist", 0))


def painted(source, box):
    """The picture that is shown of a source, with a magenta box in source pixels."""
    picture = plots.enlarge(source)
    picture.paste((255, 0, 255), tuple(12 * side for side in box))
    return picture


def test_what_is_painted_over_is_found_pixel_by_pixel(prediction):
    erased = perturbation.brush_mask(prediction.source, painted(prediction.source, (3, 5, 9, 11)))
    expected = torch.zeros(28, 28, dtype=torch.bool)
    expected[5:11, 3:9] = True
    assert torch.equal(erased, expected)
    assert not perturbation.brush_mask(prediction.source, plots.enlarge(prediction.source)).any()


@pytest.mark.parametrize("filling", perturbation.FILLINGS)
def test_only_what_is_painted_over_is_filled_in(prediction, filling):
    erased = torch.zeros(28, 28, dtype=torch.bool)
    erased[5:11, 3:9] = True
    filled = perturbation.fill_in(prediction.forward_pass.pixels, erased, filling)
    changed = (filled != prediction.forward_pass.pixels).any(1)[0]
    assert not changed[~erased].any()
    assert changed[erased].float().mean() > 0.9


def test_the_mean_is_that_of_what_lies_around():
    pixels = torch.zeros(1, 3, 28, 28)
    pixels[..., :14] = 200
    erased = torch.zeros(28, 28, dtype=torch.bool)
    erased[10:14, 2:6] = True  # far from the dark half
    assert (perturbation.fill_in(pixels, erased, "mean")[..., erased] == 200).all()
    everything = torch.ones(28, 28, dtype=torch.bool)
    assert (perturbation.fill_in(pixels, everything, "mean") == 100).all()


def sent(name, kind="composite", content=b"bytes", index=None):
    return SimpleNamespace(data={"type": kind, "id": name, "index": index}, files=[("file", content)])


def test_the_canvas_keeps_few_pictures_and_only_whole_ones():
    canvas = perturbation.canvas()
    canvas.accept_blobs(sent("mine", content=b"my picture"))
    canvas.accept_blobs(sent("layers", kind="layer", index=10**9))  # would be a list of as many places
    assert canvas.preprocess(SimpleNamespace(id="layers", composite=None)) is None
    assert canvas.preprocess(SimpleNamespace(id="mine", composite=None)) == b"my picture"
    for i in range(perturbation.WAITING + 1):
        canvas.accept_blobs(sent(f"flood {i}"))
    assert canvas.preprocess(SimpleNamespace(id="flood 0", composite=None)) is None
    assert canvas.preprocess(SimpleNamespace(id="flood 1", composite=None)) == b"bytes"
    canvas.accept_blobs(sent("huge", content=bytes(perturbation.LARGEST + 1)))
    assert canvas.preprocess(SimpleNamespace(id="huge", composite=None)) is None


@pytest.fixture(scope="module")
def functions(trained):
    """file.function -> what the interface calls."""
    demo = build(Registry.open(trained, "/nonexistent"))
    return {
        f"{one.fn.__module__.split('.')[-1]}.{one.fn.__name__}": one.fn for one in demo.fns.values() if one.fn
    }


def test_what_reads_an_upload_is_ours_after_an_update_too(trained):
    """Gradio answers an update, and even a skip, with a new component of the same class and arguments."""
    blocks = build(Registry.open(trained, "/nonexistent")).blocks.values()
    readers = [
        one for one in blocks if one.get_block_name() in ("image", "uploadbutton", "file", "imageeditor")
    ]
    assert len(readers) == 5
    for one in readers:
        anew = type(one)(**one.constructor_args | {"render": False})
        assert anew.preprocess.__func__.__module__.startswith("medvit.ui"), one


def test_a_page_may_send_what_is_no_longer_offered():
    for kind in (gr.Radio, gr.Dropdown):
        choices = current(kind)([("A", "a"), ("B", "b")], render=False)
        assert [choices.preprocess(sent) for sent in ("b", "gone", None, ["a"])] == ["b", "a", "a", "a"]
        assert current(kind)([], render=False).preprocess("a") is None
    slider = current(gr.Slider)(1, 9, 9, step=1, render=False)
    assert [slider.preprocess(sent) for sent in (3, 12, 0)] == [3, 9, 1]
    with pytest.raises(TypeError):
        slider.preprocess("/secret")


@pytest.mark.parametrize(
    "name, arguments",
    [
        ("explore.ask", [("breastmnist", "spt_lsa"), None, 0, False]),
        ("explore.fill", [("breastmnist", "spt_lsa"), None, None, None, 0, False]),
        ("explore.answer_at", [None, None, 0]),
        ("maps.draw", [None, "attention", 1, "all", None, "mean", 0, None, 50]),
        ("maps.switch", [None, "attention", 1, "all", None]),
        ("maps.point", [None, None, None]),
        ("maps.pick_head", [None, None, SimpleNamespace(index=1)]),
        ("maps.pick_layer", [None, SimpleNamespace(index=1)]),
        ("believe.fill", [None, "attention"]),
        ("believe.put_to_test", [None, "attention", 1, "all", None, "mean", 0, None, 50]),
        ("compare.fill", [("breastmnist", "spt_lsa"), None, "grad_cam"]),
    ],
)
def test_a_page_left_for_long_says_so(functions, name, arguments):
    with pytest.raises(gr.Error, match="Pick an image again"):
        functions[name](*arguments)


def test_the_last_layer_stays_the_last_from_model_to_model():
    registry = Registry.open(REPOSITORY / "checkpoints", "/nonexistent")
    with gr.Blocks():
        panel = heatmap.build(registry, gr.State())
    slider = next(one for one in panel.outputs if isinstance(one, gr.Slider) and one.label == "Layer")
    source = synthetic.draw("breastmnist", 0)
    cnn, small, large = (
        registry.predictor("breastmnist", model).predict(source)
        for model in ("cnn", "spt_lsa", "vit_finetuned")
    )

    def show(of, count, layer):
        shown = panel.show(of, count, "attention", layer, "all", None, "mean", 0, None, 50)[1]
        found = dict(zip(panel.outputs, shown, strict=True))
        return found[panel.layers], found[slider].value

    assert show(small, heatmap.DEEPEST, heatmap.DEEPEST) == (9, 9)
    assert show(large, 9, 9) == (12, 12)
    assert show(cnn, 12, 12) == (1, 1)
    assert show(large, 1, 1) == (12, 12)
    assert show(large, 12, 4) == (12, 4)
    assert show(small, 12, 10) == (9, 9)


@pytest.mark.parametrize(
    "name, states", [("explore.fill", 4), ("compare.fill", 3), ("test_set.fill", 3), ("about.fill", 1)]
)
def test_a_tab_is_left_empty_until_something_is_picked(functions, name, states):
    assert functions[name](*[None] * states) == gr.skip()


def test_what_is_picked_is_set_last(trained):
    """A tab may read the states while they are set one after the other; `picked` says that all are there."""
    by_events = {}
    for listener in build(Registry.open(trained, "/nonexistent")).fns.values():
        by_events.setdefault(frozenset(event for _, event in listener.targets), []).append(listener)
    (choose,) = by_events[frozenset({"load", "select"})]
    tabs = by_events[frozenset({"select", "change"})]
    assert len(tabs) == 4
    assert {tab.inputs[0] for tab in tabs} == {choose.outputs[-1]}


def test_before_and_after_erasing_are_what_the_answer_shows(functions, prediction):
    content = io.BytesIO()
    painted(prediction.source, (3, 5, 9, 11)).save(content, "PNG")
    shown = f"<td>{prediction.display_probs[prediction.top]:.1%}</td>"
    assert shown != f"<td>{prediction.probabilities[prediction.top]:.1%}</td>"
    assert shown in functions["erase.ask_again"](prediction, content.getvalue(), "blurred")


def test_a_preset_for_no_model_is_one_sentence(functions):
    with pytest.raises(gr.Error, match="There is no model 'gone'"):
        functions["operating_point.choose"](("breastmnist", "gone"), 25)


def of_several_labels(synthetic_root):
    """A store of one checkpoint of a multi-label subset, wrong about image 2 alone."""
    labels = medmnist.load_split("chestmnist", "test", 28, synthetic_root)[1]
    logits = np.where(labels, 4.0, -4.0)
    logits[2] *= -1
    subset = medmnist.get("chestmnist")
    tested = SimpleNamespace(
        subset=subset, model_name="cnn", test_logits=logits, test_labels=labels, card={"source_size": 28}
    )
    predictors = [SimpleNamespace(checkpoint=tested)]
    return Registry(predictors, Path("/nonexistent"), synthetic_root)  # type: ignore[arg-type]


def test_a_mistake_with_several_labels_is_found(synthetic_root):
    assert (
        of_several_labels(synthetic_root).random_misclassified("chestmnist", "cnn").origin == "test image 2"
    )


def test_an_answer_of_several_labels_adds_nothing_up_and_calls_no_truth_unknown():
    classes = medmnist.get("chestmnist").classes
    source = np.zeros((28, 28, 3), np.uint8)
    prediction = medvit.Prediction("chestmnist", "cnn", classes, source, np.full(len(classes), 0.4))
    words = parts.answer(prediction, Sample("chestmnist", source, "test image 2"))
    assert "together" not in words
    assert "not known" not in words


def test_agreement_is_said_in_one_line():
    said = [SimpleNamespace(label=label) for label in ("a", "b", "a")]
    assert compare.agreement(said[:1] * 3) == "All 3 models say <b><span title='a'>a</span></b>."
    assert "disagree: 2 say" in compare.agreement(said)


def judged(gain, error, shuffled=0.0):
    one = {
        "insertion_deletion_gain": gain,
        "insertion_deletion_gain_se": error,
        "randomization_similarity": shuffled,
    }
    other = {
        "insertion_deletion_gain": 0.3,
        "insertion_deletion_gain_se": 0.01,
        "randomization_similarity": 0.0,
    }
    card = {"explanations": {"images": 50, "methods": {"attention": one, "grad_cam": other}}}
    return faithfulness.verdict(SimpleNamespace(card=card), "attention")


def test_a_map_is_trusted_only_when_it_surely_beats_chance():
    assert "better than chance: +0.20" in judged(0.2, 0.05)
    assert "not surely" not in judged(0.2, 0.05)
    assert "not surely better than chance" in judged(0.2, 0.15)
    assert "ranks 2 of 2; best is Grad-CAM (+0.30)" in judged(0.2, 0.05)


def test_a_map_that_ignores_the_weights_is_flagged():
    assert "shuffled weights" in judged(0.2, 0.05, shuffled=0.8)
    assert "shuffled weights" not in judged(0.2, 0.05, shuffled=0.2)
    assert "Not measured" in faithfulness.verdict(SimpleNamespace(card={}), "attention")


def test_a_film_frames_the_chosen_picture_and_says_what_each_shows():
    pictures = [plots.apply_colormap(np.full((7, 7), share)) for share in (0.0, 0.5, 1.0)]
    row = thumbnail_strip.render("Heads <2>", pictures, ["a", 'a "b"', "c"], chosen=1)
    assert re.findall(r"data-index='(\d)' aria-pressed='(\w+)'", row) == [
        ("0", "false"), ("1", "true"), ("2", "false"),
    ]  # fmt: skip
    assert len(set(re.findall(r"src='([^']+)'", row))) == 3
    assert "alt='a &quot;b&quot;'" in row
    assert "Heads &lt;2&gt;" in row
