#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""From a scan to its embedding, tokens and reconstruction, and one step of training.

Without weights the networks are small and random: good to see shapes, not anatomy.
"""

import argparse
import math
from pathlib import Path

import numpy as np
import pumit

TOKENIZER = {"start_stride": 4, "channels": [16, 32], "codes": 64, "code_dim": 16}
VIT = {"dim": 48, "depth": 2, "heads": 2, "hidden": 96, "patch": [8, 8, 8], "codes": 64}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scan", help="NIfTI, PNG or JPEG file")
    parser.add_argument("--vit", help="weights of a transformer (safetensors)")
    parser.add_argument("--tokenizer", help="weights of a tokenizer (safetensors)")
    parser.add_argument("--output", type=Path, default=Path("."), help="where the PNG goes")
    options = parser.parse_args()

    with pumit.Context() as context:
        vit, tokenizer = networks(context, options)
        scan = pumit.Volume.read(context, options.scan)
        print(f"scan            {scan.shape} voxels, spacing {scan.spacing} mm")

        embedding = vit.embed(scan)
        print(f"embedding       {embedding.shape}, norm {np.linalg.norm(embedding):.3f}")

        image, spacing = scan.to_patches(tokenizer.patch, tokenizer.channels, max_tokens=256)
        tokens = tokenizer.encode(image, spacing)
        print(f"tokens          {tokens.shape}, each a distribution over {tokenizer.codes} codes")

        sheet = options.output / "reconstruction.png"
        write_reconstruction(context, sheet, image, tokenizer.decode(tokens, spacing))
        print(f"reconstruction  {sheet}: slices above, their reconstruction below")

        before, after = train_one_step(context, vit, tokenizer, image, spacing)
        print(f"training        masked-modelling loss {before:.4f}, after one step {after:.4f}")


def networks(context, options):
    """The networks that the options name."""
    vit = pumit.Vit.load(context, options.vit) if options.vit else pumit.Vit(context, VIT)
    tokenizer = (
        pumit.Tokenizer.load(context, options.tokenizer)
        if options.tokenizer
        else pumit.Tokenizer(context, TOKENIZER)
    )
    return vit, tokenizer


def write_reconstruction(context, path, image, reconstruction) -> None:
    """A few slices of (1, D, H, W, C) images, original above reconstruction."""
    original, copy = image.numpy()[0], reconstruction.numpy()[0]
    slices = np.unique(np.linspace(0, len(original) - 1, 6).astype(int))
    tiles = np.concatenate([original[slices], copy[slices]])
    pumit.write_png_sheet(path, pumit.Tensor(context, tiles), columns=len(slices))


def train_one_step(context, vit, tokenizer, image, spacing):
    """Masked modelling of one image: the loss before and after a step."""
    length = math.prod(vit.grid(image.shape[1:4], spacing))
    visible = pumit.random_visible(context, 1, length, mask_ratio=0.55, seed=1)
    optimizer = pumit.Optimizer(vit)
    loss = vit.mim_loss(tokenizer, image, spacing, visible)
    loss.backward()
    optimizer.step(1e-3)
    return loss.item(), vit.mim_loss(tokenizer, image, spacing, visible).item()


if __name__ == "__main__":
    main()
