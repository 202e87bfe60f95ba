"""ResNet-18 for small images: a 3x3 stem without pooling, so that 28 pixels end as a 4 x 4 grid.

He, Zhang, Ren, Sun: Deep Residual Learning for Image Recognition (CVPR 2016). Half width (the
default here) has 2.8 million parameters, as many as SPT-LSA; ``width=64`` is the published ResNet-18.
"""

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import ImageClassifierOutputWithNoAttention

from medvit.models.configs import CnnConfig


class BasicBlock(nn.Module):
    """Two 3x3 convolutions with a residual connection."""

    def __init__(self, channels_in: int, channels: int, stride: int):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.shortcut = nn.Identity()
        if stride != 1 or channels_in != channels:
            self.shortcut = nn.Sequential(
                nn.Conv2d(channels_in, channels, 1, stride, bias=False), nn.BatchNorm2d(channels)
            )

    def forward(self, x: Tensor) -> Tensor:
        y = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class CnnForImageClassification(PreTrainedModel):
    config_class = CnnConfig
    main_input_name = "pixel_values"

    def __init__(self, config: CnnConfig):
        super().__init__(config)
        widths = [config.width * 2**stage for stage in range(len(config.depths))]
        self.stem = nn.Sequential(
            nn.Conv2d(3, widths[0], 3, padding=1, bias=False), nn.BatchNorm2d(widths[0]), nn.ReLU()
        )
        blocks, channels = [], widths[0]
        for stage, (width, depth) in enumerate(zip(widths, config.depths, strict=True)):
            for block in range(depth):
                blocks.append(BasicBlock(channels, width, stride=2 if stage and not block else 1))
                channels = width
        self.blocks = nn.Sequential(*blocks)
        self.classifier = nn.Linear(channels, config.num_labels)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
            nn.init.zeros_(module.running_mean)
            nn.init.ones_(module.running_var)
            nn.init.zeros_(module.num_batches_tracked)
        elif isinstance(module, nn.Linear):
            nn.init.normal_(module.weight, std=0.01)
            nn.init.zeros_(module.bias)

    def forward(
        self, pixel_values: Tensor, labels: Tensor | None = None, output_hidden_states: bool = False, **_
    ) -> ImageClassifierOutputWithNoAttention:
        """Classify normalised images (B, 3, H, W); they are cast to the dtype of the weights.

        Returns:
            `logits` (B, classes); `hidden_states`, the last feature map (B, C, H/8, W/8).
        """
        pixel_values = pixel_values.to(self.dtype)
        # The faster layout there. On CPUs without AVX-512, PyTorch 2.14 writes out of bounds in the backward
        # pass of a strided 1 x 1 convolution of 2 to 7 channels in it.
        compiled = torch.compiler.is_compiling() and self.config.width >= 8
        if pixel_values.is_cuda or compiled:
            pixel_values = pixel_values.contiguous(memory_format=torch.channels_last)
        features = self.blocks(self.stem(pixel_values))  # (B, C, h, w)
        logits = self.classifier(features.mean((2, 3)))  # (B, classes)
        return ImageClassifierOutputWithNoAttention(
            loss=None if labels is None else self.loss_function(labels, logits, self.config),
            logits=logits,
            hidden_states=(features,) if output_hidden_states else None,
        )
