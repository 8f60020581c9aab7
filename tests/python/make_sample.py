# SPDX-License-Identifier: Apache-2.0
"""Writes a small random transformer and a scan for the tests of the installed library.

make_sample.py FOLDER: FOLDER/vit.safetensors and FOLDER/scan.nii.gz.
"""

import sys
from pathlib import Path

import pumit
from support import SPACING, VIT, sample, write_nifti

folder = Path(sys.argv[1])
pumit.Vit(pumit.Context(threads=1), VIT).save(folder / "vit.safetensors")
write_nifti(folder / "scan.nii.gz", sample(), SPACING[::-1])
