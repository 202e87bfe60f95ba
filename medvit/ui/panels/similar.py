"""Similar cases, a section of the Explore tab: the images that the model itself takes for most alike."""

import html
import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import gradio as gr

from medvit.data import short_name
from medvit.data.medmnist import download_command
from medvit.errors import MedvitError
from medvit.inference.predictor import Prediction
from medvit.inference.registry import Registry
from medvit.inference.retrieval import SPLITS, Index, Neighbour
from medvit.ui.components.gallery import Item, gallery, render
from medvit.ui.parts import show_user_errors

SHOWN = 8


@dataclass
class Builder:
    """Computes one index at a time, in the background; safe to share between visitors."""

    progress: dict[str, tuple[int, int]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _starting: threading.Lock = field(default_factory=threading.Lock)

    def start(self, index: Index) -> None:
        """Begin, unless it has begun; what is waiting its turn has begun too."""
        key = index.checkpoint.card["sha256"]
        with self._starting:
            if key in self.progress:
                return
            self.progress[key] = (0, 0)
            self.failed.pop(key, None)
        threading.Thread(target=self._run, args=(key, index), daemon=True).start()

    def _run(self, key: str, index: Index) -> None:
        def report(done: int, total: int) -> None:
            self.progress[key] = (done, total)

        try:
            with self._turn:
                index.build(report)
        except (MedvitError, OSError) as error:
            self.failed[key] = str(error)
        finally:
            del self.progress[key]


def build(registry: Registry, seen: gr.State, answer: gr.HTML) -> gr.HTML:
    """Lay the section out. It shows the images nearest to that of the `Prediction` in `seen`.

    Args:
        answer: what changes with every new prediction.

    Returns:
        The gallery, whose `select` event has `index`, that of a test image.
    """
    builder = Builder()
    open_now = gr.State(False)
    with gr.Accordion("Similar cases", open=False) as section:
        start = gr.Button("Compute the model's features of all images", size="sm", visible=False)
        pictures = gallery(elem_id="similar")
        tick = gr.Timer(1.5, active=False)

    def waiting(index: Index) -> str | None:
        """What stands in the way, in words; None where all is there."""
        key = index.checkpoint.card["sha256"]
        if index.ready:
            return None
        if progress := builder.progress.get(key):
            done, total = progress
            share = f"{done:,} of {total:,} images" if total else "waiting to start"
            return f"Computing the model's features: {share}. You can go on meanwhile."
        if key in builder.failed:
            return f"That did not work: {builder.failed[key]}"
        return "The features of the training and test images have to be computed once; that takes minutes."

    @show_user_errors
    def show(seen: Prediction | None, open_now):
        """The button, the gallery, the timer."""
        if not open_now or seen is None:
            return gr.skip()
        if not registry.has_data(seen.subset):
            size = registry.checkpoint(seen.subset, seen.model).card["source_size"]
            text = (
                "Similar cases need the images, which are not on this machine; "
                f"{download_command(seen.subset, size)} fetches them."
            )
            return gr.Button(visible=False), _note(text), gr.Timer(active=False)
        predictor = registry.predictor(seen.subset, seen.model)
        index = Index(predictor.checkpoint, registry.data_root)
        obstacle = waiting(index)
        if obstacle is not None:
            running = index.checkpoint.card["sha256"] in builder.progress
            return gr.Button(visible=not running), _note(obstacle), gr.Timer(active=running)
        vector = predictor.features(seen.source)
        near = {split: index.nearest(vector, split, SHOWN, seen.source) for split in SPLITS}
        page = _page(seen, near, index.size("train"))
        return gr.Button(visible=False), page, gr.Timer(active=False)

    def begin(seen: Prediction, open_now):
        builder.start(Index(registry.checkpoint(seen.subset, seen.model), registry.data_root))
        return show(seen, open_now)

    inputs, outputs = [seen, open_now], [start, pictures, tick]
    quiet: dict[str, Any] = dict(api_visibility="private", show_progress="hidden")
    section.expand(lambda: True, None, open_now, **quiet).then(show, inputs, outputs, **quiet)
    section.collapse(lambda: (False, gr.Timer(active=False)), None, [open_now, tick], **quiet)
    answer.change(show, inputs, outputs, **quiet)
    start.click(begin, inputs, outputs, **quiet)
    tick.tick(show, inputs, outputs, **quiet)
    return pictures


def _note(text: str) -> str:
    return f"<p class='note'>{html.escape(text)}</p>"


def _page(prediction: Prediction, near: dict[str, list[Neighbour]], size: int) -> str:
    """The nearest images of both splits, and how far their truth agrees with the answer."""
    names = {"train": f"training images (of {size:,} looked at)", "test": "test images"}
    pages = []
    for split, ones in near.items():
        truths = [_truth(prediction.classes, one) for one in ones]
        agree = sum(truth == prediction.label for truth in truths)
        counts = ", ".join(f"{n} {short_name(name)}" for name, n in Counter(truths).most_common())
        note = f"{agree} of {len(ones)} have the truth that the model says here. Truth: {counts}."
        items = [
            Item(
                one.index if split == "test" else None,
                f"{'✓' if truth == prediction.label else '✗'} {one.similarity:.3f}",
                f"{'Test' if split == 'test' else 'Training'} image {one.index}: truth {truth}, "
                f"similarity {one.similarity:.3f}",
            )
            for one, truth in zip(ones, truths, strict=True)
        ]
        title = f"Nearest {names[split]}, by cosine similarity of the features"
        pages.append(render(title, note, items, [one.pixels for one in ones]))
    return "".join(pages)


def _truth(classes: tuple[str, ...], one: Neighbour) -> str:
    if one.label.ndim == 0:
        return classes[int(one.label)]
    return ", ".join(name for name, has in zip(classes, one.label, strict=True) if has) or "no label"
