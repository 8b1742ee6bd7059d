"""ResNet-50 (He et al. 2015, with the stride in the 3x3 convolution): 25.6 million parameters."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
_WIDER = 4
_GAIN = 0.3
"""Of what a block adds, as training leaves it. With 1, rounding grows from block to block: bf16 was off by 13 %."""


class Bottleneck(nn.Module):
    def __init__(self, before: int, width: int, stride: int) -> None:
        super().__init__()
        self.one, self.one_norm = nn.Conv2d(before, width, 1, bias=False), nn.BatchNorm2d(width)
        self.two, self.two_norm = nn.Conv2d(width, width, 3, stride, 1, bias=False), nn.BatchNorm2d(width)
        self.three, self.three_norm = nn.Conv2d(width, width * _WIDER, 1, bias=False), nn.BatchNorm2d(width * _WIDER)
        self.around: nn.Module = nn.Identity()
        if stride != 1 or before != width * _WIDER:
            across = nn.Conv2d(before, width * _WIDER, 1, stride, bias=False)
            self.around = nn.Sequential(across, nn.BatchNorm2d(width * _WIDER))

    def forward(self, x: Tensor) -> Tensor:
        y = functional.relu(self.one_norm(self.one(x)))
        y = functional.relu(self.two_norm(self.two(y)))
        return functional.relu(self.three_norm(self.three(y)) + self.around(x))


class ResNet50(nn.Module):
    def __init__(self, classes: int = 1000) -> None:
        super().__init__()
        self.stem, self.stem_norm = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        self.pool = nn.MaxPool2d(3, 2, 1)
        blocks, before = [], 64
        for stage, (width, count) in enumerate(_STAGES):
            for i in range(count):
                blocks.append(Bottleneck(before, width, 2 if stage and i == 0 else 1))
                before = width * _WIDER
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Linear(before, classes)

    def forward(self, image: Tensor) -> Tensor:
        return self.head(self.features(image))

    def features(self, image: Tensor) -> Tensor:
        x = self.pool(functional.relu(self.stem_norm(self.stem(image))))
        return self.blocks(x).mean((2, 3))

    @torch.no_grad()
    def settle(self, images: Tensor) -> None:
        """Statistics of the normalisations as training leaves them: without them the outputs vanish or explode."""
        norms = [m for m in self.modules() if isinstance(m, nn.BatchNorm2d)]
        for norm in norms:
            norm.momentum = None  # the mean over the batches that it sees
        self.train()
        self.features(images)


def build() -> nn.Module:
    model = ResNet50()
    for part in model.modules():
        if isinstance(part, nn.Conv2d):
            nn.init.kaiming_normal_(part.weight, mode="fan_out", nonlinearity="relu")
        elif isinstance(part, Bottleneck):
            nn.init.constant_(part.three_norm.weight, _GAIN)
    return model
