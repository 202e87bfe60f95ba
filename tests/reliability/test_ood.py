import numpy as np

from medvit.reliability import ood


def clusters():
    """Features (N, 12) and labels of three clusters, and features outside of all of them."""
    rng = np.random.default_rng(0)
    centres = 6 * np.eye(12)[:3]
    spread = np.r_[np.ones(4), np.full(8, 0.2)]
    labels = rng.integers(0, 3, 600)
    inside = centres[labels] + rng.normal(size=(600, 12)) * spread
    outside = rng.normal(size=(200, 12)) * np.r_[np.ones(4), np.full(8, 2.0)] + 4 * np.eye(12)[3]
    return inside.astype(np.float32), labels, outside.astype(np.float32)


def test_images_outside_of_every_class_score_lower():
    inside, labels, outside = clusters()
    fitted = ood.fit(inside[:400], labels[:400])
    assert ood.auroc(ood.score(inside[400:], fitted), ood.score(outside, fitted)) > 0.99
    assert all(array.dtype == np.float32 for array in fitted.values())


def test_the_score_is_the_squared_distance_under_the_pooled_covariance():
    inside, labels, outside = clusters()
    fitted = ood.fit(inside, labels)
    precision = fitted["ood_whitening"] @ fitted["ood_whitening"].T
    means = [inside[labels == c].mean(0) for c in range(3)]
    distances = [np.einsum("nd,de,ne->n", outside - m, precision, outside - m) for m in means]
    np.testing.assert_allclose(ood.score(outside, fitted), -np.min(distances, 0), rtol=1e-3)


def test_images_far_from_every_class_score_lower_however_confident_a_model_is():
    inside, labels, _ = clusters()
    fitted = ood.fit(inside[:400], labels[:400])
    assert ood.auroc(ood.score(inside[400:], fitted), ood.score(inside[400:] * 50, fitted)) > 0.99


def test_fewer_training_images_than_features_are_enough():
    inside, labels, _ = clusters()
    features = np.pad(inside[:20], ((0, 0), (0, 28)))  # 20 images, 40 features
    elsewhere = features.copy()
    elsewhere[:, 30] = 5
    fitted = ood.fit(features, labels[:20])
    assert ood.auroc(ood.score(features, fitted), ood.score(elsewhere, fitted)) > 0.99


def test_multi_label_images_form_one_class():
    inside, _, _ = clusters()
    fitted = ood.fit(inside, np.zeros((600, 14), int))
    assert fitted["ood_means"].shape == (1, 12)


def test_a_folder_without_a_reference_model_uses_the_shipped_one(tmp_path):
    shipped = ood.reference(tmp_path)
    features = shipped.features(np.zeros((2, 28, 28), np.uint8))
    assert features.shape[0] == 2
    assert len(shipped.sha256) == 64
