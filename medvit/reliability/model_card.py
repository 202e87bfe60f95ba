"""The model card of a checkpoint: a README for people, from card.json and test.npz alone."""

import numpy as np

from medvit.checkpoint import Checkpoint
from medvit.evaluation.metrics import probabilities
from medvit.reliability.calibration import BINS, calibration_error, confidence

FAILURES = 10

HEAD = """---
license: apache-2.0
library_name: transformers
pipeline_tag: image-classification
tags: [medmnist, {subset}, vision-transformer, biomedical, medvit]
{base}---

# {title} on {data}

**Research demo, not for diagnosis.** {parameters:,} parameters, {start}.

## Use

```python
import medvit  # registers the architecture
from transformers import AutoModelForImageClassification

model = AutoModelForImageClassification.from_pretrained("FOLDER_OR_REPOSITORY")
```

`medvit.Predictor` and the app also bring a picture of any size to the form the model was trained on: centre
square, antialiased downscale to {source_size} x {source_size} pixels{enlarged}, mean {mean},
standard deviation {std}.

- **Intended**: learning and research on how small image classifiers behave, on thumbnails of this collection.
- **Out of scope**: diagnosis, triage, screening, or any decision about a person; pictures of other kinds or
  devices. The model names one of its classes for any picture at all.

## Data

{description}

- Reference standard: the labels that the collection came with, as MedMNIST distributes them; nobody has
  checked them again here.
- Partitions: {samples}; MedMNIST's own. Trained on {trained_on:,} images.
- Source size {source_size} pixels, centre-cropped and downscaled by MedMNIST{enlarged}.
- Licence of the data: {licence}. They are not part of this repository. md5 of the archive: `{data_md5}`.

## Training

{epochs} epochs, batch {batch_size}, learning rate {learning_rate:g}, weight decay {weight_decay:g},
seed {seed}, strategy {strategy}. Kept epoch: {selection}. {seconds} on {hardware}. {versions}.
"""


def markdown(found: Checkpoint) -> str:
    """The card as Markdown, with the front matter of the Hugging Face hub."""
    card, subset = found.card, found.subset
    recipe = card["recipe"]
    backbone, interpolation = card.get("backbone"), card.get("interpolation")
    head = HEAD.format(
        subset=subset.name,
        base=f"base_model: {backbone}\n" if backbone else "",
        title=found.title,
        data=subset.title,
        parameters=card["parameters"],
        start=found.origin,
        source_size=card["source_size"],
        enlarged=f", then enlarged to {card['input_size']} ({interpolation})" if interpolation else "",
        mean=", ".join(f"{x:g}" for x in found.preprocessing.mean),
        std=", ".join(f"{x:g}" for x in found.preprocessing.std),
        description=subset.description,
        samples=", ".join(f"{name} {count:,}" for name, count in subset.samples.items()),
        trained_on=card["trained_on"],
        licence=subset.licence,
        data_md5=card["data_md5"],
        epochs=recipe["epochs"],
        batch_size=recipe["batch_size"],
        learning_rate=recipe["learning_rate"],
        weight_decay=recipe["weight_decay"],
        seed=card["seed"],
        strategy=card.get("strategy") or "full",
        selection=card["selection"],
        seconds=f"{card['seconds'] / 60:.0f} minutes",
        hardware=card["hardware"],
        versions=", ".join(f"{name} {version}" for name, version in card["versions"].items()),
    )
    return head + _figures(found) + _calibration(found) + _failures(found) + LIMITS


LIMITS = """
## Limits

- The collection carries no ages, sexes, origins or devices, so nothing is known about how the model fares
  on groups of people.
- Whether the partitions share patients is unknown.
- The figures are of one run: their intervals cover the images drawn, not the luck of the seed.
"""


def _figures(found: Checkpoint) -> str:
    card, rows = found.card, ""
    test, validation = card["test"], card["validation"]
    for key, value in test.items():
        if isinstance(value, float):
            name = key.replace("_", " ").replace("auc", "AUC").replace("f1", "F1")
            interval = test.get(f"{key}_interval")
            span = f"{interval[0]:.3f} to {interval[1]:.3f}" if interval else ""
            other = validation.get(key)
            rows += f"| {name} | {value:.3f} | {span} | {'' if other is None else f'{other:.3f}'} |\n"
    classes = ""
    for name, one in test["per_class"].items():
        low_high = one.get("recall_interval")
        span = f" ({low_high[0]:.3f} to {low_high[1]:.3f})" if low_high else ""
        classes += (
            f"| {name} | {one['support']:,} | {one['precision']:.3f} | {one['recall']:.3f}{span} "
            f"| {one['f1']:.3f} | {one['auc']:.3f} |\n"
        )
    return (
        f"\n## Figures\n\nOn the official test split, {test['n']:,} images, read once after every choice was "
        "made on the validation split. Intervals are Wilson's, at 95 %.\n\n"
        f"| | test | 95 % interval | validation |\n|---|---|---|---|\n{rows}\n"
        "| class | images | precision | recall (95 %) | F1 | AUC |\n|---|---|---|---|---|---|\n"
        f"{classes}{_seeds(found)}"
    )


def _seeds(found: Checkpoint) -> str:
    reached = found.seed_accuracies
    if len(reached) < 2:
        return ""
    each = ", ".join(f"{one:.3f}" for one in reached)
    return (
        f"\nRuns of the same recipe with {len(reached)} seeds, this one among them, test accuracy: {each}; "
        f"mean {np.mean(reached):.3f}, standard deviation {np.std(reached, ddof=1):.3f}.\n"
    )


def _calibration(found: Checkpoint) -> str:
    if found.subset.multi_label:
        return ""
    confidences, right = confidence(probabilities(found.test_logits), found.test_labels)
    return (
        f"\n## Calibration\n\nExpected calibration error of the raw probabilities on the test split, "
        f"{BINS} bins of equally many images: {calibration_error(confidences, right):.3f}. Mean confidence "
        f"{confidences.mean():.3f}, accuracy {right.mean():.3f}.\n"
    )


def _failures(found: Checkpoint) -> str:
    if found.subset.multi_label:
        return ""
    scores, classes = probabilities(found.test_logits), found.subset.classes
    said = scores.argmax(1)
    wrong = np.flatnonzero(said != found.test_labels)
    worst = wrong[np.argsort(-scores[wrong].max(1), kind="stable")][:FAILURES]
    rows = "".join(
        f"| {i} | {classes[found.test_labels[i]]} | {classes[said[i]]} | {scores[i, said[i]]:.3f} |\n"
        for i in worst
    )
    return (
        f"\n## Failures\n\n{len(wrong):,} of {len(said):,} test images get a wrong class; the most "
        "confident, by index in the test split:\n\n"
        f"| index | truth | the model says | probability |\n|---|---|---|---|\n{rows}"
    )
