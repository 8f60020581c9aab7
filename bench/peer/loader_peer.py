#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What bench/loader.c times, by MONAI and TorchIO: crops of noise held in memory, one thread, the same sizes and chances.

The noise is float already between 0 and 1, where libpumit keeps scans as they were read and normalises each crop.

    pip install monai torchio
    for i in 1 2 3; do     # in turn, on one core, so that both meet the same machine
        taskset -c 0 build/bench/loader; taskset -c 0 python3 bench/peer/loader_peer.py
    done

Each crop is cut with a margin first, so that neither library resamples the whole image, which is how their users do it. What the
library here does in one interpolation (scale, turn, crop) is one RandAffine or RandomAffine at the chance that either is drawn.
"""

import argparse
import statistics
import time

import numpy as np
import torch

KINDS = {"da0": ((96, 192, 192), (80, 160, 160)), "da2": ((32, 192, 192), (20, 160, 160)), "2d": ((1, 224, 224), (1, 160, 160))}
CHANCE_OF_AFFINE = 1 - (1 - 0.5) * (1 - 0.2)  # scaled or turned
MARGIN = 1.25
IMAGES = 4


def margin_of(image, crop):
    return tuple(min(i, int(c * MARGIN)) if c > 1 else 1 for i, c in zip(image, crop))


def monai_pipeline(name):
    import monai.transforms as mt

    image, crop = KINDS[name]
    flat, cubes = crop[0] == 1, name == "da0"
    angles = (np.pi / 2,) if flat else (np.pi / 2, np.pi / 6, np.pi / 6) if cubes else (np.pi / 2, 0, 0)
    scales = ((-0.15, 0.25),) * 2 if flat else ((-0.2 if cubes else 0, 0.25 if cubes else 0),) + ((-0.15, 0.25),) * 2
    cut = slice(1, None) if flat else slice(None)
    steps = [
        mt.RandSpatialCrop(margin_of(image, crop)[cut], random_size=False),
        mt.RandAffine(prob=CHANCE_OF_AFFINE, rotate_range=angles, scale_range=scales, spatial_size=crop[cut],
                      mode="bilinear", padding_mode="zeros", cache_grid=True),
        *[mt.RandFlip(0.5, spatial_axis=axis) for axis in range(len(crop[cut]))],
        mt.RandScaleIntensity(prob=0.5, factors=0.15),
        mt.RandScaleIntensityFixedMean(prob=0.5, factors=0.2, preserve_range=True),
        mt.RandAdjustContrast(prob=0.3, gamma=(0.7, 1.5)),
        mt.RandAdjustContrast(prob=0.3, gamma=(0.7, 1.5), invert_image=True),
        mt.Lambda(lambda x: x.clamp(0, 1)),
        mt.RepeatChannel(3),
    ]
    plain = mt.Compose([mt.RandSpatialCrop(crop[cut], random_size=False), mt.RepeatChannel(3)])
    images = [torch.rand(1, *image[cut]) for _ in range(IMAGES)]
    return images, plain, mt.Compose(steps)


def torchio_pipeline(name):
    import torchio as tio

    image, crop = KINDS[name]
    cubes = name == "da0"
    scales = (0.8, 1.25) if cubes else (1, 1)
    angles = (-90, 90, -30, 30, -30, 30) if cubes else (-90, 90, 0, 0, 0, 0)
    augment = tio.Compose([
        tio.RandomAffine(scales=(*scales, 0.85, 1.25, 0.85, 1.25), degrees=angles, default_pad_value=0, p=CHANCE_OF_AFFINE),
        tio.CropOrPad(crop),
        tio.RandomFlip(axes=(0, 1, 2) if cubes else (1, 2), flip_probability=0.5),
        tio.RandomGamma(log_gamma=(-0.36, 0.4), p=0.3),
    ])

    def random_crop(x, size):
        starts = [np.random.randint(0, a - b + 1) for a, b in zip(x.shape[1:], size)]
        return x[(slice(None), *(slice(s, s + b) for s, b in zip(starts, size)))]

    def chance(p):
        return np.random.rand() < p

    def run(x):  # TorchIO has neither gain nor contrast: two lines of torch instead
        x = augment(random_crop(x, margin_of(image, crop)))
        if chance(0.5):
            x = x * np.random.uniform(0.85, 1.15)
        if chance(0.5):
            mean = x.mean()
            x = (x - mean) * np.random.uniform(0.8, 1.2) + mean
        if chance(0.3):
            x = 1 - (1 - x.clamp(0, 1)) ** np.random.uniform(0.7, 1.5)
        return x.clamp(0, 1).repeat(3, 1, 1, 1)

    images = [torch.rand(1, *image) for _ in range(IMAGES)]
    return images, lambda x: random_crop(x, crop).repeat(3, 1, 1, 1), run


def rate(pipeline, images, seconds):
    start, count = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        out = pipeline(images[np.random.randint(len(images))])
        assert out.shape[0] == 3
        count += 1
    return count / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    parser.add_argument("peers", nargs="*", default=["monai", "torchio"])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{'peer':<12} {'images':<8} {'crops':<9} {'images/s':>10} {'least':>10} {'most':>10}")
    for peer in options.peers:
        for name in KINDS:
            images, plain, augmented = {"monai": monai_pipeline, "torchio": torchio_pipeline}[peer](name)
            for kind, pipeline in (("plain", plain), ("augmented", augmented)):
                rate(pipeline, images, 0)
                rates = [rate(pipeline, images, options.seconds) for _ in range(options.runs)]
                print(f"{peer:<12} {name:<8} {kind:<9} {statistics.median(rates):>10.2f} {min(rates):>10.2f} {max(rates):>10.2f}", flush=True)


if __name__ == "__main__":
    main()
