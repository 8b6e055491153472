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

from benchmarks.peers.torch_vgg16 import vgg16

BATCH, WORKERS = 32, 1
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


def main(photos, weights, output):
    paths = sorted(str(path) for path in pathlib.Path(photos).iterdir())
    model = vgg16(np.load(weights).values()).eval().to(memory_format=torch.channels_last)
    loader = torch.utils.data.DataLoader(Photos(paths), batch_size=BATCH, num_workers=WORKERS)
    vectors = []
    with torch.inference_mode():
        for batch in loader:
            vectors.append(model(batch.to(memory_format=torch.channels_last)).numpy())
    rows = {"uri": paths, "embedding": list(np.concatenate(vectors))}
    pq.write_table(pa.table(rows), output)


main(*sys.argv[1:])
