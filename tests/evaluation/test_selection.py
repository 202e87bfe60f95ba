import numpy as np

from medvit.evaluation import selection

LABELS = np.array([0, 0, 0, 1, 1, 2])
PROBS = np.array(
    [[0.6, 0.3, 0.1], [0.9, 0.1, 0], [0.1, 0.8, 0.1], [0.2, 0.7, 0.1], [0.95, 0.05, 0], [0.3, 0.3, 0.4]]
)
OTHER_PROBS = np.array(
    [[0.6, 0.3, 0.1], [0.1, 0.2, 0.7], [0.1, 0.8, 0.1], [0.9, 0.1, 0], [0.3, 0.6, 0.1], [0.3, 0.3, 0.4]]
)


def test_a_cell_has_its_images_most_confident_first():
    assert selection.in_cell(PROBS, LABELS, 0, 0).tolist() == [1, 0]
    assert selection.in_cell(PROBS, LABELS, 1, 0).tolist() == [4]
    assert selection.in_cell(PROBS, LABELS, 2, 0).tolist() == []


def test_misclassified_images_are_those_off_the_diagonal():
    assert selection.misclassified(PROBS, LABELS).tolist() == [4, 2]


def test_a_multi_label_image_is_misclassified_if_any_label_is_wrong():
    probs = np.array([[0.9, 0.2], [0.4, 0.9], [0.1, 0.1]])
    labels = np.array([[1, 0], [1, 0], [0, 0]])
    assert selection.misclassified(probs, labels).tolist() == [1]


def test_two_models_disagree_where_their_classes_differ():
    assert selection.disagreements(PROBS, OTHER_PROBS).tolist() == [4, 1, 3]
    assert selection.in_one_cell_only(PROBS, OTHER_PROBS, LABELS, 1, 0).tolist() == [4, 3]
    assert selection.in_one_cell_only(PROBS, OTHER_PROBS, LABELS, 0, 0).tolist() == [1]
