# SPDX-License-Identifier: Apache-2.0
"""How well label maps agree with the truth; what the scores mean stands in pumit/segmentation_scores.h."""

from __future__ import annotations

import ctypes
import json
import os
from typing import Any, NamedTuple, Union

import numpy as np

from ._ffi import lib
from ._handle import Handle, Owned, made, made_text
from .config import Options, as_config
from .errors import check
from .label_map import LabelMap


class SegmentationScores(NamedTuple):
    """Scores of a case: arrays with an entry per class, the background first.

    NaN stands for a class that is in neither map; the background has no distances.
    """

    dice: np.ndarray
    hausdorff95: np.ndarray  #: mm; infinite where one map lacks the class
    surface_dice: np.ndarray  #: share of both surfaces within the tolerance of the other


def segmentation_scores(
    prediction: LabelMap, reference: LabelMap, classes: int, tolerance_mm: float = 1.0
) -> SegmentationScores:
    """Dice, 95% Hausdorff distance and surface Dice by class; `classes` counts the background."""
    out = [np.empty(max(classes, 0)) for _ in SegmentationScores._fields]
    pointers = [array.ctypes.data_as(ctypes.POINTER(ctypes.c_double)) for array in out]
    check(
        lib.pumit_segmentation_scores(*pointers, classes, prediction, reference, tolerance_mm)
    )
    return SegmentationScores(*out)


class SegmentationReport(Handle):
    """Scores of many cases with confidence intervals of their means.

    >>> report = SegmentationReport({"tolerance_mm": 2, "class_names": ["background", "liver"]})
    >>> report.add("case 1", prediction, reference)
    >>> report.to_dict()["mean"]["dice"]
    """

    def __init__(self, options: Options = None) -> None:
        pointer = made(lib.pumit_segmentation_report_create, as_config(options))
        self._owned = Owned(pointer, lib.pumit_segmentation_report_release)

    def add(
        self, name: Union[str, "os.PathLike[str]"], prediction: LabelMap, reference: LabelMap
    ) -> None:
        """Judges a case and adds it; the label maps are not kept."""
        check(
            lib.pumit_segmentation_report_add(self, os.fsencode(name), prediction, reference)
        )

    def to_dict(self) -> dict[str, Any]:
        """The report so far; None stands for what is not defined, or infinite."""
        return json.loads(made_text(lib.pumit_segmentation_report_to_json, self))
