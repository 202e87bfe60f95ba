"""A case of a reader study on the screen: the image, the advice of its condition, and what is asked for."""

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from medvit import explain, plots
from medvit.checkpoint import Checkpoint
from medvit.data import as_rgb, short_name
from medvit.errors import MedvitError
from medvit.inference.registry import Registry
from medvit.reader_study import Session, advice
from medvit.reader_study.advice import Advice
from medvit.reader_study.heatmaps import HeatmapCache
from medvit.reader_study.session import check_fit, confidence_steps
from medvit.ui import html

CERTAINTY = ("a guess", "unsure", "fairly sure", "sure", "certain")
KEYS = 9  # classes that have a key
OVERLAY_SIDE = 448  # pixels
OPACITY = 0.85


@dataclass(frozen=True)
class Cases:
    """Images, advice and heatmaps of the studies of all visitors; nothing that a reader answers is kept."""

    registry: Registry
    heatmaps: HeatmapCache

    def advice(self, session: Session) -> Advice:
        """What the model says about the images of a study.

        Raises:
            MedvitError: the model of the study is not here, or the study does not fit the dataset.
        """
        study = session.study
        if not self.registry.has(study.dataset, study.model):
            raise MedvitError(
                f"This study is about the model {study.model!r} on {study.dataset!r}, which is not here."
            )
        checkpoint = self.registry.checkpoint(study.dataset, study.model)
        if checkpoint.card.get("sha256") != study.checkpoint:
            raise MedvitError(f"The weights of {checkpoint.title} here differ from those of this study.")
        result = self.advice_on(study.dataset, study.model, session.practice)
        check_fit(session, result)
        return result

    def advice_on(self, dataset: str, model: str, practice: bool) -> Advice:
        """What a model says about its test split, or for practice about drawings."""
        checkpoint = self.registry.checkpoint(dataset, model)
        if reason := why_impossible(checkpoint):
            raise MedvitError(reason)
        if practice:
            return _advice_on_drawings(self.registry, dataset, model, checkpoint.card["sha256"])
        return advice.of_test_split(checkpoint)

    def source(self, session: Session, index: int) -> np.ndarray:
        """Pixels of an image of a study, uint8 (s, s, 3).

        Raises:
            MedvitError: the images are not on this machine.
        """
        study = session.study
        if session.practice:
            return advice.drawings(study.dataset, [index])[0]
        return as_rgb(self.registry.test_images(study.dataset, study.model)[index])

    def heatmap(self, session: Session, index: int) -> np.ndarray:
        """The heatmap (gh, gw) of an image of a study, scaled to -1..1."""
        study = session.study
        if study.method not in explain.METHODS:
            raise MedvitError(f"There is no kind of heatmap {study.method!r}.")
        predictor = self.registry.predictor(study.dataset, study.model)
        return self.heatmaps.get(predictor, study.method, self.source(session, index))

    def prepare(self, session: Session) -> None:
        """Compute the heatmaps of the case on display and of the next one, where they will be needed."""
        for case in session.study.cases[session.number : session.number + 2]:
            if case.condition == "heatmap":
                self.heatmap(session, case.index)

    def render(self, session: Session) -> str:
        """The case on display as HTML.

        Raises:
            MedvitError: as `advice` and `source` do.
        """
        about, case, phase = self.advice(session), session.case, session.phase
        source = self.source(session, case.index)
        overlay = None
        if case.condition == "heatmap" and phase != "first":
            values = self.heatmap(session, case.index)
            overlay = plots.overlay(source, values, OPACITY, OVERLAY_SIDE, by_value=True)
        return html.render(
            "reader_case.html",
            session=session,
            key=f"{session.study.code}-{session.number}-{phase}",
            title=_title(self.registry, session),
            source=source,
            overlay=overlay,
            method=explain.METHODS[session.study.method].title if overlay else "",
            classes=[short_name(name) for name in about.classes],
            keys=KEYS,
            steps=confidence_steps(len(about.classes)),
            words=CERTAINTY,
            judgement=session.answers[-1][1] if phase == "truth" else session.first,
            first=session.answers[-1][0] if phase == "truth" else session.first,
            advice=None if phase == "first" else _advice(about, case.index, case.condition),
            truth=int(about.labels[case.index]),
        )


def why_impossible(checkpoint: Checkpoint) -> str:
    """Why a model allows no reader study, a sentence; "" where it does."""
    if not len(checkpoint.test_labels):
        return "This model was not tested here, so no image has a known class and an answer of the model."
    if checkpoint.dataset.multi_label:
        return "An image of this dataset can have several labels; a reader study needs exactly one."
    return ""


def _title(registry: Registry, session: Session) -> str:
    checkpoint = registry.checkpoint(session.study.dataset, session.study.model)
    return f"{checkpoint.dataset.title} · {checkpoint.title}"


def _advice(about: Advice, index: int, condition: str) -> dict[str, Any]:
    """What the template displays of the advice of a condition."""
    answer = int(about.predicted[index])
    members = about.prediction_set(index) if condition == "set" else None
    return {
        "condition": condition,
        "answer": answer,
        "probability": float(about.probs[index, answer]),
        "set": members,
        "level": about.level,
        "calibrated": about.calibrated,
    }


@lru_cache(16)
def _advice_on_drawings(registry: Registry, dataset: str, model: str, _sha256: str) -> Advice:
    return advice.of_drawings(registry.predictor(dataset, model))
