"""The format of card.json: the fields that the program reads, with their types and ranges.

A card may hold more than that. Cards of other people's checkpoints are checked against it before use.
"""

from typing import Annotated, Any

from pydantic import BaseModel, Field, StringConstraints, ValidationError, model_validator

from medvit.errors import MedvitError

ABSENT: Any = None  # the default of a section that may be missing but not null

Count = Annotated[int, Field(ge=0, le=10**12)]
Side = Annotated[int, Field(ge=1, le=1024)]  # of an image, in pixels
Fraction = Annotated[float, Field(ge=0, le=1)]
Number = float  # also NaN, where a metric is undefined; strict validation refuses integers beyond its range
Interval = Annotated[list[Number], Field(min_length=2, max_length=2)]
Text = Annotated[str, StringConstraints(max_length=500)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Name = Annotated[str, StringConstraints(pattern=r"^[\w.-]{1,100}$")]
Level = Annotated[str, StringConstraints(pattern=r"^0\.\d{1,6}$")]  # of coverage, such as "0.95"


class Section(BaseModel, strict=True):
    """An object in the card."""


class Class(Section):
    precision: Number
    recall: Number
    f1: Number
    auc: Number
    support: Count
    recall_interval: Interval | None = None


class Metrics(Section):
    """What `evaluation.metrics.evaluate` returns for a split."""

    n: Annotated[Count, Field(ge=1)]
    accuracy: Fraction
    accuracy_interval: Interval
    balanced_accuracy: Number
    macro_f1: Number
    auc: Number
    auc_interval: Interval | None = None
    macro_precision: Number = ABSENT
    macro_recall: Number = ABSENT
    loss: Number = ABSENT
    quadratic_kappa: Number = ABSENT
    mean_absolute_error: Number = ABSENT
    per_class: Annotated[dict[Text, Class], Field(min_length=1)]

    @model_validator(mode="after")
    def _both_or_none(self) -> "Metrics":
        if (self.quadratic_kappa is None) != (self.mean_absolute_error is None):
            raise ValueError("quadratic_kappa and mean_absolute_error belong together")
        return self


class Recipe(Section):
    epochs: Count
    batch_size: Count
    learning_rate: Number
    weight_decay: Number


class Epochs(Section):
    epochs: Count


class Stage(Section):
    """An earlier stage of training: the initial checkpoint."""

    subset: Text
    recipe: Epochs
    start: "Stage | None" = None


class Epoch(Section):
    epoch: Number
    train_loss: Number | None = None
    val_loss: Number | None = None
    val_accuracy: Number | None = None


class Seed(Section):
    """One training run of the recipe."""

    seed: Count
    validation_loss: Number = ABSENT
    validation_accuracy: Number = ABSENT
    test_accuracy: Number
    test_auc: Number = ABSENT


class Calibration(Section):
    ece: Number
    ece_floor: Number
    brier: Number
    nll: Number


class TestTimeAugmentation(Section):
    count: Count
    n: Count
    accuracy_before: Number
    accuracy: Number
    before: Calibration
    after: Calibration
    tta_agreement: Number


class OfSize(Section):
    coverage: Number
    images: Count


class Coverage(Section):
    possible: bool
    coverage: Number
    coverage_interval: Interval
    mean_size: Number
    expected: Interval
    by_size: dict[Text, OfSize]


class PredictionSets(Section):
    default_level: Fraction
    fitted_on: Count
    levels: dict[Level, Coverage]

    @model_validator(mode="after")
    def _has_default(self) -> "PredictionSets":
        if f"{self.default_level:.2f}" not in self.levels:
            raise ValueError("the default level is not one of the levels")
        return self


class Kind(Section):
    accepted: Number
    accepted_interval: Interval
    auroc: Number


class Ood(Section):
    """Either `missing`, why it was not measured, or the other fields."""

    missing: Text = ""
    kinds: dict[Text, Kind] = ABSENT
    near_ood: dict[Text, Kind] = ABSENT
    test_accepted: Number = ABSENT
    test_accepted_interval: Interval = ABSENT

    @model_validator(mode="after")
    def _all_or_none(self) -> "Ood":
        if self.kinds is not None and None in (
            self.near_ood,
            self.test_accepted,
            self.test_accepted_interval,
        ):
            raise ValueError("kinds without near_ood, test_accepted or test_accepted_interval")
        return self


class Areas(Section):
    auroc: Number
    auroc_interval: Interval | None
    auprc: Number
    auprc_interval: Interval | None
    prevalence: Number


class Trust(Section):
    """What `reliability.measure` wrote; either nothing or all but the two sections of some tasks."""

    n: Count = ABSENT
    before: Calibration = ABSENT
    after: Calibration = ABSENT
    tta: TestTimeAugmentation = ABSENT
    ood: Ood = ABSENT
    prediction_sets: PredictionSets = ABSENT
    operating: Areas = ABSENT

    @model_validator(mode="after")
    def _all_or_none(self) -> "Trust":
        if self.tta is not None and None in (self.n, self.before, self.after, self.ood):
            raise ValueError("tta without n, before, after or ood")
        return self


class Robustness(Section):
    errors: Annotated[dict[Text, Annotated[list[Number], Field(min_length=1)]], Field(min_length=1)]
    clean: Number


class Faithfulness(Section):
    insertion_deletion_gain: Number
    insertion_deletion_gain_se: Number
    randomization_similarity: Number


class Explanations(Section):
    images: Count
    methods: dict[Text, Faithfulness]


class Card(Section):
    subset: Text
    model: Name
    seed: Count
    recipe: Recipe
    source_size: Side
    input_size: Side
    interpolation: Text | None
    parameters: Annotated[Count, Field(ge=1)]
    trained_on: Count
    history: list[Epoch]
    selection: Text
    hardware: Text
    seconds: Number
    validation: Metrics
    test: Metrics
    sha256: Sha256
    config_sha256: Sha256 = ABSENT
    strategy: Text | None = None
    backbone: Text | None = None
    data_md5: Text = ABSENT
    versions: dict[Text, Text] = ABSENT
    teachers: list[Any] = ABSENT
    seeds: list[Seed] = ABSENT
    start: Stage | None = None
    trust: Trust = ABSENT
    robustness: Robustness | None = None
    explanations: Explanations = ABSENT
    command: Text | None = None


def check(card: Any) -> None:
    """Raise MedvitError for a card in which a field is missing or of another type or range; it is named."""
    try:
        Card.model_validate(card)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"]))[:100]
        raise MedvitError(f"card.json has no usable {place!r} ({first['msg'].lower()})") from error
