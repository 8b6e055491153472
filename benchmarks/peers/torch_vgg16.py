"""VGG16's convolutions in PyTorch, with global average pooling."""

import torch
from torch import nn

BLOCKS = (2, 2, 3, 3, 3)


def vgg16(weights=()):
    """With the kernels and biases of Keras in turn, or random ones where none are given."""
    arrays, layers, channels = list(weights), [], 3
    for block, convolutions in enumerate(BLOCKS):
        filters = min(64 << block, 512)
        for _ in range(convolutions):
            layer = nn.Conv2d(channels, filters, 3, padding=1)
            channels = filters
            if arrays:
                kernel, bias = arrays.pop(0), arrays.pop(0)
                layer.weight.data = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
                layer.bias.data = torch.from_numpy(bias)
            layers += [layer, nn.ReLU(inplace=True)]
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
