"""A PyTorch DataLoader, channels_last: python -m benchmarks.peers.torch_loader PHOTOS WEIGHTS OUT

WEIGHTS is an .npz file with kernel and bias of each convolution in turn. Needs torch.
"""

import pathlib
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import nn

BATCH, WORKERS = 32, 1
BLOCKS = (2, 2, 3, 3, 3)
MEANS = np.array([103.939, 116.779, 123.68], np.float32)


class Photos(torch.utils.data.Dataset):
    def __init__(self, paths):
        self.paths = paths

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, place):
        image = Image.open(self.paths[place]).convert("RGB")
        pixels = np.asarray(image.resize((224, 224), Image.Resampling.BILINEAR), np.float32)
        return torch.from_numpy((pixels[:, :, ::-1] - MEANS).transpose(2, 0, 1).copy())


def vgg16(weights):
    arrays = list(np.load(weights).values())
    layers, place = [], 0
    for convolutions in BLOCKS:
        for _ in range(convolutions):
            kernel, bias = arrays[place : place + 2]
            place += 2
            layer = nn.Conv2d(kernel.shape[2], kernel.shape[3], 3, padding=1)
            layer.weight.data = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
            layer.bias.data = torch.from_numpy(bias)
            layers += [layer, nn.ReLU(inplace=True)]
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())


def main(photos, weights, output):
    paths = sorted(str(path) for path in pathlib.Path(photos).iterdir())
    model = vgg16(weights).eval().to(memory_format=torch.channels_last)
    loader = torch.utils.data.DataLoader(Photos(paths), batch_size=BATCH, num_workers=WORKERS)
    vectors = []
    with torch.inference_mode():
        for batch in loader:
            vectors.append(model(batch.to(memory_format=torch.channels_last)).numpy())
    rows = {"uri": paths, "embedding": list(np.concatenate(vectors))}
    pq.write_table(pa.table(rows), output)


main(*sys.argv[1:])
