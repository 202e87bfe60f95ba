"""The model card: what a checkpoint is, how it was trained, how well it does and where it fails.

`ModelCard.of(checkpoint)` is the one source of this text, as plain sentences and rows. `markdown` renders it
as the README of the checkpoint folder, with the front matter of the Hugging Face hub; the app and the
prediction report show its fields.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from medvit.card import Metrics
from medvit.checkpoint import Checkpoint
from medvit.evaluation import selection
from medvit.evaluation.calibration_error import BINS, calibration_error, confidence
from medvit.evaluation.metrics import probabilities
from medvit.models import DEFAULT_BACKBONE, NAMES
from medvit.templates import environment
from medvit.text import interval

MAX_FAILURES = 10
TEMPLATES = Path(__file__).with_name("templates")
LIMITATIONS = (
    "For research and teaching, not for diagnosis.",
    "The model names one of its classes for any picture, whatever the picture shows.",
    "The collection records no age, sex, origin or device, so performance on groups of people is unknown.",
    "Whether the splits share patients is unknown.",
    "The metrics are of one training run on one test split: their intervals cover the choice of test images, "
    "not that of the seed, and nothing follows for other clinics, devices or people.",
)
TOO_FEW_TO_CALIBRATE = (
    "Validation has too few images or errors to calibrate the probabilities, so they stay as they are."
)
OWN_LIMITATIONS = (
    *LIMITATIONS[:2],
    "The pictures and labels are the user's own; nobody else has checked them.",
    LIMITATIONS[-1],
)

Row = tuple[str, ...]


@dataclass(frozen=True)
class ModelCard:
    """The card of one checkpoint as text.

    `facts`: {name: value}. `metrics`: rows (name, test, 95 % interval, validation). `classes`: rows (class,
    images, precision, recall with its interval, F1, AUC). `failures`: rows (index in the test split, true
    class, predicted class, probability). `seed_runs`: rows (seed, log-loss and accuracy on validation,
    accuracy and AUC on test), for several. Paragraphs that do not apply are empty.
    """

    title: str
    facts: dict[str, str]
    data: str
    metrics: list[Row]
    classes: list[Row]
    seeds: str
    seed_runs: list[Row]
    calibration: str
    prediction_sets: str
    failure_count: str
    failures: list[Row]
    limitations: tuple[str, ...] = LIMITATIONS

    @classmethod
    def of(cls, checkpoint: Checkpoint) -> "ModelCard":
        """The card of a checkpoint, from its card.json and test.npz alone."""
        dataset = checkpoint.dataset
        failure_count, failures = _failures(checkpoint)
        return cls(
            title=f"{checkpoint.title} on {dataset.title}",
            facts=_facts(checkpoint),
            data=f"{dataset.description} Licence: {dataset.licence}.",
            limitations=OWN_LIMITATIONS if dataset.own else LIMITATIONS,
            metrics=_metrics(checkpoint),
            classes=_classes(checkpoint),
            seeds=seeds_sentence(checkpoint),
            seed_runs=_seed_runs(checkpoint),
            calibration=_calibration(checkpoint),
            prediction_sets=coverage_sentences(checkpoint.card.get("trust", {}).get("prediction_sets")),
            failure_count=failure_count,
            failures=failures,
        )


def markdown(checkpoint: Checkpoint) -> str:
    """The card as Markdown, with the front matter of the Hugging Face hub."""
    templates = environment(TEMPLATES)
    templates.filters["plain"] = plain
    template = templates.get_template("model_card.md")
    card = plain(asdict(ModelCard.of(checkpoint)))
    # Weights from elsewhere, and those made of one's own pictures, have the licence that their owner gives.
    known = checkpoint.model_name in NAMES and checkpoint.card.get("backbone") in (None, DEFAULT_BACKBONE)
    licensed = known and not checkpoint.dataset.own
    return template.render(checkpoint=checkpoint, dataset=checkpoint.dataset, card=card, licensed=licensed)


def plain(value: Any) -> Any:
    """Texts, and those in lists, tuples and dicts, without what Markdown takes for an image, a link or HTML.

    Whoever reads the card of someone else's checkpoint must not request pictures that it names.
    """
    if isinstance(value, dict):
        return {key: plain(child) for key, child in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(map(plain, value))
    if not isinstance(value, str):
        return value
    text = "".join(character if character.isprintable() else " " for character in value)
    return text.replace("\\", "\\\\").replace("<", "&lt;").replace("[", "\\[").replace("|", "\\|")


def _facts(checkpoint: Checkpoint) -> dict[str, str]:
    card, test = checkpoint.card, checkpoint.card["test"]
    training, preprocessing = _training(checkpoint), checkpoint.preprocessing
    interpolation = card.get("interpolation")
    verb = "enlarged" if card["input_size"] > card["source_size"] else "reduced"
    resized = f", {verb} to {card['input_size']} ({interpolation})" if interpolation else ""
    mean, std = (", ".join(f"{x:g}" for x in values) for values in (preprocessing.mean, preprocessing.std))
    versions = ", ".join(f"{name} {version}" for name, version in card.get("versions", {}).items())
    return {
        "Model": f"{checkpoint.title}, {card['parameters']:,} parameters, {checkpoint.origin}",
        "Training data": training["Training data"],
        "Source images": f"{card['source_size']} x {card['source_size']} pixels{resized}; mean {mean}, "
        f"standard deviation {std}",
        **{name: training[name] for name in ("Recipe", "Kept epoch", "Training time", "Command")},
        "Test accuracy": f"{test['accuracy']:.1%} ({interval(test['accuracy_interval'])} at 95 %; "
        f"{test['n']:,} images)",
        "Macro F1": f"{test['macro_f1']:.3f}",
        "AUC": f"{test['auc']:.3f}" + _in_brackets(test.get("auc_interval")),
        "Software": versions or "not recorded",
        "Weights, sha256": card["sha256"],
        **_data_checksum(checkpoint),
    }


def _training(checkpoint: Checkpoint) -> dict[str, str]:
    """How a model was trained; "not known" for one that was not trained here."""
    card, dataset, recipe = checkpoint.card, checkpoint.dataset, checkpoint.card["recipe"]
    trained_on, available = card["trained_on"], dataset.samples["train"]
    if not trained_on:
        names = ("Training data", "Recipe", "Kept epoch", "Training time", "Command")
        return dict.fromkeys(names, "not known")
    part = f"all {available:,}" if trained_on == available else f"{trained_on:,} of the {available:,}"
    stage = " in the last stage" if card.get("start") else ""
    epochs = "1 epoch" if recipe["epochs"] == 1 else f"{recipe['epochs']} epochs"
    return {
        "Training data": f"{part} training images of {dataset.title}{stage}",
        "Recipe": f"{epochs}{stage}, batch size {recipe['batch_size']}, learning rate "
        f"{recipe['learning_rate']:g}, weight decay {recipe['weight_decay']:g}, "
        f"strategy {card.get('strategy') or 'full'}, seed {card['seed']}",
        "Kept epoch": card["selection"],
        "Training time": f"{card['seconds'] / 60:.0f} minutes on {card['hardware']}",
        "Command": card.get("command") or "none, as no single run gives this model",
    }


def _data_checksum(checkpoint: Checkpoint) -> dict[str, str]:
    if checkpoint.dataset.own:
        return {"Data, sha256": checkpoint.dataset.digest}
    return {"Data, md5": checkpoint.card.get("data_md5", "not recorded")}


def _in_brackets(limits: Any) -> str:
    return f" ({interval(limits, '.3f')})" if limits else ""


def _metrics(checkpoint: Checkpoint) -> list[Row]:
    test, validation = checkpoint.card["test"], checkpoint.card["validation"]
    rows: list[Row] = []
    for key, value in test.items():
        if isinstance(value, float) and key in Metrics.model_fields:
            name = key.replace("_", " ").replace("auc", "AUC").replace("f1", "F1")
            limits = test.get(f"{key}_interval") if f"{key}_interval" in Metrics.model_fields else None
            validated = f"{validation[key]:.3f}" if key in validation else ""
            rows.append((name, f"{value:.3f}", interval(limits, ".3f"), validated))
    return rows


def _classes(checkpoint: Checkpoint) -> list[Row]:
    return [
        (
            name,
            f"{row['support']:,}",
            f"{row['precision']:.3f}",
            f"{row['recall']:.3f}{_in_brackets(row.get('recall_interval'))}",
            f"{row['f1']:.3f}",
            f"{row['auc']:.3f}",
        )
        for name, row in checkpoint.card["test"]["per_class"].items()
    ]


def seeds_sentence(checkpoint: Checkpoint) -> str:
    """Mean and standard deviation of the test accuracy over the seeds of the recipe; empty for one seed."""
    reached = checkpoint.seed_accuracies
    if len(reached) < 2:
        return ""
    each = ", ".join(f"{accuracy:.3f}" for accuracy in reached)
    return (
        f"Test accuracy of the same recipe with {len(reached)} seeds, this one included: {each}; "
        f"mean {np.mean(reached):.3f}, standard deviation {np.std(reached, ddof=1):.3f}."
    )


def _seed_runs(checkpoint: Checkpoint) -> list[Row]:
    runs = checkpoint.card.get("seeds", [])
    names = ("validation_loss", "validation_accuracy", "test_accuracy", "test_auc")
    rows: list[Row] = [
        (str(run["seed"]), *(f"{run[name]:.3f}" if name in run else "" for name in names)) for run in runs
    ]
    return rows if len(rows) > 1 else []


def _calibration(checkpoint: Checkpoint) -> str:
    if checkpoint.dataset.multi_label:
        return ""
    confidences, correct = confidence(probabilities(checkpoint.test_logits), checkpoint.test_labels)
    sentence = (
        f"Expected calibration error on the test split, {BINS} bins of equally many images: "
        f"{calibration_error(confidences, correct):.3f} before calibration (mean confidence "
        f"{confidences.mean():.3f}, accuracy {correct.mean():.3f})"
    )
    trust = checkpoint.card.get("trust", {})
    if "after" not in trust:
        return f"{sentence}."
    if unchanged_by_calibration(trust):
        return f"{sentence}. {TOO_FEW_TO_CALIBRATE}"
    return f"{sentence}, {trust['after']['ece']:.3f} after it."


def unchanged_by_calibration(trust: dict[str, Any]) -> bool:
    """Whether calibration left the probabilities as they were, by the section trust of a card."""
    return bool(np.isclose(trust["before"]["nll"], trust["after"]["nll"], rtol=1e-6, atol=0))


def coverage_sentences(prediction_sets: dict[str, Any] | None) -> str:
    """How often prediction sets hold the true class on the test split, and where that is less than expected.

    Args:
        prediction_sets: the section trust.prediction_sets of a card, or None.
    """
    if not prediction_sets:
        return ""
    level = f"{prediction_sets['default_level']:.2f}"
    measured = prediction_sets["levels"][level]
    fitted_on, size = prediction_sets["fitted_on"], measured["mean_size"]
    if not measured["possible"]:
        return f"{fitted_on:,} validation images are too few for prediction sets at {float(level):.0%}."
    sentence = (
        f"At {float(level):.0%}, the prediction sets hold the true class of {measured['coverage']:.1%} of "
        f"the test images ({interval(measured['coverage_interval'])}), with {size:.2f} "
        f"classes on average. Fitted on {fitted_on:,} validation images, "
        f"{interval(measured['expected'])} is expected where test images are like validation images."
    )
    below = [
        f"{float(level):.0%}" for level, row in prediction_sets["levels"].items() if row.get("below_expected")
    ]
    if below:
        sentence += f" The coverage on the test split is below the expected range at {' and '.join(below)}."
    return sentence


def _failures(checkpoint: Checkpoint) -> tuple[str, list[Row]]:
    """How many test images are misclassified, and the most confident of them."""
    if checkpoint.dataset.multi_label:
        return "", []
    probs, labels, classes = (
        probabilities(checkpoint.test_logits),
        checkpoint.test_labels,
        checkpoint.dataset.classes,
    )
    predicted = probs.argmax(1)
    wrong = selection.misclassified(probs, labels)
    rows: list[Row] = [
        (str(i), classes[labels[i]], classes[predicted[i]], f"{probs[i, predicted[i]]:.3f}")
        for i in wrong[:MAX_FAILURES]
    ]
    return f"{len(wrong):,} of {len(labels):,} test images are misclassified", rows
