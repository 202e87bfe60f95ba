"""The glossary: short explanations of terms for readers from outside machine learning.

The screens explain these terms on hover, focus and tap; `medvit tables docs/glossary.md` writes the same list
into the documents.
"""

import re
from collections.abc import Iterator

TERMS = {
    # Answers and how far to trust them
    "accuracy": "The fraction of images whose predicted class is the true class.",
    "balanced accuracy": "The mean of the recalls of all classes, so that a rare class counts as much as a "
    "frequent one.",
    "calibrated": "Probabilities are calibrated if they are right as often as they say: of all answers given "
    "with 80 %, about 80 % are correct.",
    "temperature scaling": "A correction fitted on validation images that makes probabilities less, or more, "
    "extreme. It never changes which class comes first.",
    "prediction set": "All classes that remain plausible for an image. At a level of 95 %, the set contains "
    "the true class for about 95 of 100 images like those of validation. More classes mean more doubt.",
    "conformal": "Conformal prediction turns probabilities into prediction sets that contain the true class "
    "as often as promised. It needs only a set of images with known classes.",
    "coverage": "How often prediction sets contain the true class.",
    "out-of-distribution": "Unlike the images that the model was trained on, such as a photograph or another "
    "kind of scan. The model names one of its classes anyway, and that answer means nothing.",
    "in distribution": "Like the images that the model was trained on, so that its answer can mean "
    "something. It may still be wrong.",
    "Mahalanobis distance": "The distance of an image's features from those of the training images, measured "
    "relative to how much these vary.",
    "test-time augmentation": "The model also classifies flipped and rotated copies of the image, and the "
    "answers are averaged. Copies that disagree are a sign of doubt.",
    # Metrics
    "AUC": "Area under the ROC curve: how often a random positive image gets a higher score than a random "
    "negative one. 0.5 is chance, 1 is perfect.",
    "average precision": "The area under the precision-recall curve: 1 is perfect, chance is the fraction of "
    "positive images.",
    "ECE": "Expected calibration error: the mean distance between how sure the model is and how often it is "
    "right. 0 is perfect.",
    "Brier": "The Brier score is the mean squared distance between the probabilities and the truth. Lower is "
    "better.",
    "NLL": "Negative log-likelihood, or log-loss: it grows, the surer the model is of a wrong class. Lower "
    "is better.",
    "precision": "Of the images that the model assigns to a class, the fraction that belongs to it.",
    "recall": "Of the images that belong to a class, the fraction that the model assigns to it.",
    "F1": "The harmonic mean of precision and recall: it is high only if both are.",
    "sensitivity": "Of the images with the finding, the fraction that the model detects.",
    "specificity": "Of the images without the finding, the fraction that the model calls negative.",
    "PPV": "Positive predictive value: of the images that the model calls positive, the fraction that is. It "
    "depends on the prevalence.",
    "NPV": "Negative predictive value: of the images that the model calls negative, the fraction that is. It "
    "depends on the prevalence.",
    "prevalence": "The fraction of all images that have the finding.",
    "operating point": "The threshold from which a probability counts as positive. A lower one detects more "
    "and raises more false alarms.",
    "kappa": "Agreement beyond chance: 0 is chance, 1 is perfect. Quadratic kappa, for grades, counts a "
    "distant grade as a greater error than the next one.",
    "Wilson interval": "The accuracies that are compatible with the number of images classified correctly: "
    "the fewer the images, the wider it is.",
    "McNemar": "A test of whether two models differ, from the images that only one of them gets right.",
    "confusion matrix": "A table that counts, for each true class, which classes the model predicts.",
    "t-SNE": "A drawing that places images with similar features close to each other. Distances between "
    "groups mean nothing.",
    # Where the model looks
    "patch": "One of the small squares into which a Vision Transformer cuts the image; it is its unit of "
    "sight.",
    "class token": "A token beside those of the patches; it gathers what the model needs for its answer.",
    "heatmap": "A map over the image that marks which places influenced the answer. It shows where, not why.",
    "attention": "How much each patch contributes to another one, or to the class token, in one layer.",
    "rollout": "Attention followed through all layers, from the answer back to the patches. It is the same "
    "for every class.",
    "gradient rollout": "Rollout in which attention counts as much as it raises the chosen class.",
    "relevance": "Attention times gradient, followed through all layers: which patches raised the chosen "
    "class.",
    "Grad-CAM": "Which places raise the chosen class, from the gradients of a late layer, one weight for "
    "each feature.",
    "Grad-CAM++": "Grad-CAM with weights that suit a class which appears in several places.",
    "HiResCAM": "Like Grad-CAM, but each place counts with its own gradient.",
    "LayerCAM": "Like HiResCAM, but only gradients that raise the chosen class count.",
    "occlusion": "Each place is blurred in turn; the map shows how much probability the chosen class loses.",
    "token occlusion": "Each patch is left out in turn, as if the image did not have it; the map shows how "
    "much probability the chosen class loses.",
    "faithfulness": "Whether a map marks what the model really uses: blurring the marked places first must "
    "change the answer faster than blurring places in random order. 0 is chance, higher is better. A ✓ on "
    "a map's button: above chance for this model.",
    "deletion": "A test of a map: blur the image patch by patch, those that the map marks first, and watch "
    "the probability fall.",
    "insertion": "A test of a map: start from a blurred image, restore the marked patches first, and watch "
    "the probability rise.",
    "attribution mass": "The fraction of a map that lies within a region.",
    # People and models
    "appropriate reliance": "Following a model where it is right, and not where it is wrong.",
    "RAIR": "Relative AI reliance: of the cases where the reader was wrong and the model right, the "
    "fraction in which the reader switched to the model's answer.",
    "RSR": "Relative self-reliance: of the cases where the reader was right and the model wrong, the "
    "fraction in which the reader kept their own answer.",
}

ALIASES = {
    "AUROC": "AUC",
    "Brier score": "Brier",
    "conformal prediction": "conformal",
    "faithful": "faithfulness",
    "OOD": "out-of-distribution",
    "out of distribution": "out-of-distribution",
    "prediction sets": "prediction set",
    "quadratic kappa": "kappa",
    "uncalibrated": "calibrated",
}

_BY_NAME = {name.lower(): name for name in TERMS} | {name.lower(): term for name, term in ALIASES.items()}
# The longest names first: "gradient rollout" before "rollout". No letter, digit or "+" may follow.
_NAMES = "|".join(map(re.escape, sorted(_BY_NAME, key=len, reverse=True)))
_PATTERN = re.compile(rf"(?<![\w-])(?:{_NAMES})(?![\w+-])", re.IGNORECASE)


def resolve(name: str) -> str:
    """The term behind a name, in any case; an alias gives its term. Raises KeyError for an unknown name."""
    return _BY_NAME[name.lower()]


def names() -> dict[str, str]:
    """Every name in lower case, aliases too -> its identifier."""
    return {name: identifier(term) for name, term in _BY_NAME.items()}


def identifier(term: str) -> str:
    """The id of a term in HTML, such as `glossary-prediction-set`."""
    return "glossary-" + re.sub(r"[^a-z0-9]+", "-", term.lower().replace("+", "p")).strip("-")


def split(text: str) -> Iterator[tuple[str, str | None]]:
    """Split a text into (piece, its term); pieces between terms, and repeated terms, have None."""
    end, done = 0, set()
    for match in _PATTERN.finditer(text):
        term = resolve(match[0])
        if term in done:
            continue
        done.add(term)
        yield text[end : match.start()], None
        yield match[0], term
        end = match.end()
    yield text[end:], None


def markdown() -> str:
    """The glossary as a Markdown table, in alphabetical order."""
    rows = [f"| {term} | {TERMS[term]} |\n" for term in sorted(TERMS, key=str.lower)]
    return "| term | meaning |\n|---|---|\n" + "".join(rows)
