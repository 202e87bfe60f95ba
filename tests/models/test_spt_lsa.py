import pytest
import torch

from medvit.models.spt_lsa import (
    LocalitySelfAttention,
    ShiftedPatchTokenization,
    SptLsaConfig,
    diagonal_shifts,
)


def test_diagonal_shifts_by_hand():
    image = torch.tensor([[1.0, 2, 3], [4, 5, 6], [7, 8, 9]]).view(1, 1, 3, 3)
    same, up_left, up_right, down_left, down_right = diagonal_shifts(image, 1)[0]
    assert same.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert up_left.tolist() == [[5, 6, 0], [8, 9, 0], [0, 0, 0]]
    assert up_right.tolist() == [[0, 4, 5], [0, 7, 8], [0, 0, 0]]
    assert down_left.tolist() == [[0, 0, 0], [2, 3, 0], [5, 6, 0]]
    assert down_right.tolist() == [[0, 0, 0], [0, 1, 2], [0, 4, 5]]


def test_a_shifted_patch_token_reaches_half_a_patch_beyond_its_own():
    config = SptLsaConfig(image_size=12, patch_size=4)
    tokens = ShiftedPatchTokenization(config)
    image = torch.rand(1, 3, 12, 12, requires_grad=True)
    tokens(image)[0, 4].sum().backward()  # the middle of 3 x 3 patches, pixels 4 to 7
    expected = torch.zeros(12, 12, dtype=torch.bool)
    for y, x in ((4, 4), (2, 2), (2, 6), (6, 2), (6, 6)):
        expected[y : y + 4, x : x + 4] = True
    assert torch.equal(image.grad.abs().sum((0, 1)) > 0, expected)
    assert tokens.projection.in_features == 4 * 4 * 3 * 5


def test_locality_self_attention_by_hand():
    attention = LocalitySelfAttention(SptLsaConfig(hidden_size=2, num_attention_heads=1))
    assert attention.temperature.item() == pytest.approx(2**-0.5)
    with torch.no_grad():
        attention.temperature.fill_(2.0)
        attention.qkv.weight.copy_(torch.eye(2).repeat(3, 1))  # q = k = v = x
        _, weights = attention(torch.tensor([[[1.0, 0], [0, 1], [1, 1]]]), need_weights=True)
    e = torch.tensor(2.0).exp().item()
    # Scores are 2 q.k; each row leaves its own entry out: (0, 2), (0, 2), (2, 2).
    expected = torch.tensor([[0, 1 / (1 + e), e / (1 + e)], [1 / (1 + e), 0, e / (1 + e)], [0.5, 0.5, 0]])
    torch.testing.assert_close(weights[0, 0], expected)


def test_the_temperature_is_learned_per_head():
    attention = LocalitySelfAttention(SptLsaConfig())
    torch.testing.assert_close(attention.temperature, torch.full((12, 1, 1), 16**-0.5))
    assert attention.temperature.requires_grad
