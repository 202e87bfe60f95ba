from dataclasses import replace

import torch

from medvit.training.augment import NO_AUGMENTATION, Augmentation, mix


def random_pixels(count: int) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 28, 28), dtype=torch.uint8)


def test_blur_keeps_flat_images_and_half_of_the_others():
    torch.manual_seed(0)
    blurred = replace(NO_AUGMENTATION, blur=1.5)
    flat = torch.full((4, 3, 28, 28), 77.0)
    torch.testing.assert_close(blurred(flat), flat)
    noise = torch.randint(256, (200, 3, 28, 28)).float()
    change = (blurred(noise) - noise).abs().amax((1, 2, 3))
    assert 60 < (change < 0.01).sum() < 140
    assert (blurred(noise).std((2, 3)).mean(1) < 0.7 * noise.std((2, 3)).mean(1)).sum() > 30
    torch.testing.assert_close(blurred(noise).mean(), noise.mean(), atol=0.5, rtol=0)


def test_blur_reaches_no_further_than_the_image():
    images = torch.rand(8, 3, 12, 12) * 255
    assert torch.isfinite(Augmentation(blur=20)(images)).all()


def test_random_erasing_paints_up_to_three_grey_squares():
    torch.manual_seed(0)
    erasing = replace(NO_AUGMENTATION, random_erasing=1.0)
    image = torch.tensor([10.0, 20.0, 30.0]).view(1, 3, 1, 1).expand(100, 3, 28, 28)
    erased = erasing(image)
    changed = (erased - image).abs().amax(1) > 1e-3
    assert changed.any((1, 2)).all()
    assert changed.float().mean((1, 2)).max() <= 3 * 0.3**2 * 1.3  # whole pixels round up
    grey = erased.std(1) < 1e-3  # the image itself is coloured
    assert grey.float().mean() > 0.02


def test_no_augmentation_changes_nothing():
    pixels = random_pixels(4)
    torch.testing.assert_close(NO_AUGMENTATION(pixels), pixels.float())
    nearly_none = replace(NO_AUGMENTATION, brightness=1e-9)  # goes through every step
    torch.testing.assert_close(nearly_none(pixels), pixels.float(), atol=1e-2, rtol=0)


def test_jpeg_compresses_the_given_fraction_of_the_images():
    torch.manual_seed(0)
    pixels = random_pixels(200)
    change = (replace(NO_AUGMENTATION, jpeg=0.25)(pixels) - pixels.float()).abs().amax((1, 2, 3))
    assert 25 < (change > 1).sum() < 80


def test_flips_are_exact_mirrors_of_half_the_images():
    torch.manual_seed(0)
    pixels = random_pixels(400)
    result = replace(NO_AUGMENTATION, flip_x=True)(pixels)
    same = (result - pixels.float()).abs().amax((1, 2, 3)) < 0.01
    mirrored = (result - pixels.flip(-1).float()).abs().amax((1, 2, 3)) < 0.01
    assert torch.equal(same, ~mirrored)
    assert 150 < same.sum() < 250


def test_rotation_by_any_angle_moves_images_and_keeps_their_range():
    torch.manual_seed(0)
    pixels = random_pixels(8)
    result = Augmentation(flip_y=True, degrees=180, saturation=0.2)(pixels)
    assert result.shape == pixels.shape
    assert result.min() >= 0
    assert result.max() <= 255
    assert (result - pixels.float()).abs().mean() > 5


def test_mixing_changes_images_and_targets_in_the_same_proportion():
    torch.manual_seed(0)
    targets = torch.eye(8)
    x = targets.view(8, 8, 1, 1).expand(8, 8, 28, 28)[:, :3].clone()  # channel c of image c is one
    for mixup, cutmix in ((1.0, 0.0), (0.0, 1.0)):
        mixed, mixed_targets = mix(x, targets, mixup, cutmix)
        torch.testing.assert_close(mixed_targets.sum(1), torch.ones(8))
        torch.testing.assert_close(mixed.mean((2, 3)), mixed_targets[:, :3])
        assert (mixed_targets.amax(1) < 1).sum() >= 6
    pasted = mix(x, targets, 0.0, 1.0)[0]
    assert set(pasted.unique().tolist()) == {0.0, 1.0}
    assert mix(x, targets, 0.0, 0.0)[0] is x
