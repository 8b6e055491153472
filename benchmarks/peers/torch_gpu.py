"""A PyTorch DataLoader with torch.compile, channels_last, in steady state: python -m
benchmarks.peers.torch_gpu PHOTOS SIZE PRECISION

Prints images a second, without those of the first ten batches. Weights are random. Needs torch.
"""

import contextlib
import os
import pathlib
import sys
import time

import numpy as np
import torch
from PIL import Image

from benchmarks.peers.torch_vgg16 import vgg16

BATCH, WARM_BATCHES = 64, 10
HALVES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


class Photos(torch.utils.data.Dataset):
    def __init__(self, folder, size):
        self.paths = sorted(pathlib.Path(folder).iterdir())
        self.size = size

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, place):
        image = Image.open(self.paths[place]).convert("RGB")
        image = image.resize((self.size, self.size), Image.Resampling.BILINEAR)
        return torch.from_numpy(np.asarray(image).transpose(2, 0, 1).copy())


def main(folder, size, precision):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    torch.backends.cudnn.allow_tf32 = torch.backends.cuda.matmul.allow_tf32 = precision == "tf32"
    model = torch.compile(vgg16().eval().to(device, memory_format=torch.channels_last))
    means = torch.tensor([123.68, 116.779, 103.939], device=device).view(1, 3, 1, 1)
    loader = torch.utils.data.DataLoader(
        Photos(folder, int(size)),
        batch_size=BATCH,
        num_workers=os.cpu_count(),
        pin_memory=device == "cuda",
        drop_last=True,
    )
    half = HALVES.get(precision)
    casting = torch.autocast(device, half) if half else contextlib.nullcontext()
    warm, began, done = min(WARM_BATCHES, len(loader) // 2), 0, 0
    with torch.inference_mode(), casting:
        for number, batch in enumerate(loader):
            pixels = batch.to(device, non_blocking=True).float() - means
            model(pixels.to(memory_format=torch.channels_last)).float().cpu()
            if number + 1 == warm:
                began = time.perf_counter()
            elif began:
                done += BATCH
    print(done / (time.perf_counter() - began) if began else 0.0)


if __name__ == "__main__":
    main(*sys.argv[1:])
