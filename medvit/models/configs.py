"""Configurations of the architectures, apart from the models so that AutoConfig loads nothing else."""

from transformers.configuration_utils import PretrainedConfig


class CnnConfig(PretrainedConfig):
    """`width`: channels of the first stage; each later stage doubles them. `depths`: blocks per stage."""

    model_type = "medvit_cnn"

    def __init__(
        self, width: int = 32, depths: tuple[int, ...] = (2, 2, 2, 2), image_size: int = 28, **kwargs
    ):
        self.width = width
        self.depths = tuple(depths)
        self.image_size = image_size
        super().__init__(**kwargs)


class VitConfig(PretrainedConfig):
    """Configuration of the ViT.

    Args:
        image_size, patch_size: in pixels.
        mlp_ratio: hidden width of the MLP / hidden_size.
        drop_path: stochastic-depth rate of the last block; it grows linearly from 0 at the first.
        patch_dropout: fraction of the patches that is dropped in training, see `drop_patches`.

    Raises:
        ValueError: sizes that do not divide each other, or a fraction outside 0 to below 1.
    """

    model_type = "medvit_vit"

    def __init__(
        self,
        image_size: int = 28,
        patch_size: int = 4,
        hidden_size: int = 192,
        num_hidden_layers: int = 9,
        num_attention_heads: int = 12,
        mlp_ratio: float = 2.0,
        drop_path: float = 0.1,
        patch_dropout: float = 0.0,
        **kwargs,
    ):
        if image_size % patch_size:
            raise ValueError(f"image_size {image_size} is not a multiple of patch_size {patch_size}")
        if hidden_size % num_attention_heads:
            raise ValueError(
                f"hidden_size {hidden_size} is not a multiple of num_attention_heads {num_attention_heads}"
            )
        if not 0 <= patch_dropout < 1:
            raise ValueError(f"patch_dropout {patch_dropout} is not in the range 0 to below 1")
        self.image_size = image_size
        self.patch_size = patch_size
        self.hidden_size = hidden_size
        self.num_hidden_layers = num_hidden_layers
        self.num_attention_heads = num_attention_heads
        self.mlp_ratio = mlp_ratio
        self.drop_path = drop_path
        self.patch_dropout = patch_dropout
        super().__init__(**kwargs)


class SptLsaConfig(VitConfig):
    """As `VitConfig`, with `spt` (shifted patch tokenization) and `lsa` (locality self-attention)."""

    model_type = "medvit_spt_lsa"

    def __init__(self, spt: bool = True, lsa: bool = True, **kwargs):
        self.spt = spt
        self.lsa = lsa
        super().__init__(**kwargs)
