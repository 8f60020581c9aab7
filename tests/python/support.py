# SPDX-License-Identifier: Apache-2.0
"""What the Python tests share: a folder, small networks, a NIfTI writer, the C headers."""

import gzip
import re
import struct
import tempfile
import unittest
from pathlib import Path

import numpy as np
import pumit

ROOT = Path(__file__).resolve().parents[2]

TOKENIZER = {"start_stride": 4, "channels": [8, 8], "codes": 16, "code_dim": 8}
VIT = {
    "dim": 24,
    "depth": 2,
    "heads": 2,
    "hidden": 32,
    "patch": [8, 8, 8],
    "pos_embed_shape": [2, 3, 3],
    "codes": 16,
}
#: Slices of 4 mm of 1 mm pixels: degree of anisotropy 2.
SPACING = (4.0, 1.0, 1.0)


def write_nifti(path, voxels, spacing):
    """Writes float32 `voxels` indexed (i, j, k) as NIfTI-1, with axes along RAS."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *voxels.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 16, 32)  # float32
    struct.pack_into("<8f", header, 76, 1, *spacing, 0, 0, 0, 0)
    struct.pack_into("<3f", header, 108, 352, 1, 0)  # vox_offset, slope, intercept
    header[123] = 2  # millimetres
    struct.pack_into("<2h", header, 252, 0, 1)  # sform: scanner coordinates
    for row in range(3):
        struct.pack_into("<f", header, 280 + 16 * row + 4 * row, spacing[row])
    header[344:348] = b"n+1\0"
    data = bytes(header) + voxels.astype("<f4").tobytes(order="F")
    Path(path).write_bytes(gzip.compress(data) if str(path).endswith(".gz") else data)


def sample(shape=(24, 32, 8), seed=0):
    """A smooth image with some noise, indexed (i, j, k)."""
    axes = np.meshgrid(*(np.linspace(-1, 1, length) for length in shape), indexing="ij")
    ball = 900 * np.exp(-3 * sum(axis**2 for axis in axes))
    return (ball + np.random.default_rng(seed).normal(0, 20, shape)).astype(np.float32)


def declarations():
    """{name: (result, [argument types])} of every exported function, spelled as in C."""
    out = {}
    for path in sorted((ROOT / "include" / "pumit").glob("*.h")):
        inert = re.compile(r"/\*.*?\*/|^#[^\n]*(?:\\\n[^\n]*)*", re.S | re.M)
        text = inert.sub("", path.read_text())
        for match in re.finditer(r"PUMIT_API\s+([^;(]*?)(\w+)\(([^;]*?)\);", text):
            arguments = [spelled(part) for part in match[3].split(",")]
            out[match[2]] = (spelled(match[1] + " _"), [] if arguments == ["void"] else arguments)
    return out


def spelled(declaration):
    """The type of "const double spacing[3]": "const double *"."""
    text = " ".join(declaration.split())
    if text == "void":
        return text
    pointers = text.count("*") + text.count("[")
    words = [word for word in re.sub(r"\[\w*\]|\*", " ", text).split()][:-1]
    # The const of a pointer itself does not concern callers.
    return " ".join(words[: 2 if words[0] == "const" else 1]) + (" " + "*" * pointers).rstrip()


class Case(unittest.TestCase):
    """A test with a context and a folder of its own."""

    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.context = pumit.Context(threads=1)
        self.addCleanup(self.context.close)

    def scan(self, name="scan.nii.gz", shape=(24, 32, 8), seed=0):
        """A volume read from a NIfTI file of SPACING."""
        path = self.folder / name
        write_nifti(path, sample(shape, seed), SPACING[::-1])
        return pumit.Volume.read(self.context, path)
