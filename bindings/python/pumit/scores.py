# SPDX-License-Identifier: Apache-2.0
"""How well predictions agree with the truth."""

from __future__ import annotations

import ctypes
import json
from typing import Any, NamedTuple

import numpy as np

from ._ffi import lib
from ._handle import made_text
from .config import Options, as_config
from .errors import InvalidArgumentError, check

#: What a classifier tells of an image, and its number in pumit/classifier.h.
TASKS = {"classes": 1, "labels": 2, "grades": 3}


class Scores(NamedTuple):
    """Figures of merit of a classification."""

    accuracy: float  #: of the top class; of labels, of all of them
    auc: float  #: area under the ROC curve; NaN if only one class occurs


def _judged(task: str, probabilities: Any, labels: Any) -> tuple[Any, ...]:
    """The arguments of the library's functions from `task` on."""
    values = np.ascontiguousarray(probabilities, np.float64)
    truth = np.ascontiguousarray(labels, np.int64)
    if task not in TASKS:
        raise InvalidArgumentError(f"there is no task {task!r}; there are {', '.join(TASKS)}")
    if values.ndim != 2 or truth.shape != values.shape[: 2 if task == "labels" else 1]:
        raise InvalidArgumentError(f"probabilities {values.shape} and labels {truth.shape}")
    return (
        TASKS[task],
        *values.shape,
        values.ctypes.data_as(ctypes.POINTER(ctypes.c_double)),
        truth.ctypes.data_as(ctypes.POINTER(ctypes.c_int64)),
    )


def classification_scores(probabilities: Any, labels: Any, task: str = "classes") -> Scores:
    """Accuracy and AUC of probabilities (n, classes) against n labels; task "labels": (n, classes)."""
    accuracy, auc = ctypes.c_double(), ctypes.c_double()
    check(
        lib.pumit_classification_scores(
            ctypes.byref(accuracy), ctypes.byref(auc), *_judged(task, probabilities, labels)
        )
    )
    return Scores(accuracy.value, auc.value)


def classification_report(
    probabilities: Any, labels: Any, task: str = "classes", options: Options = None
) -> dict[str, Any]:
    """Figures with their confidence intervals, figures by class, and the confusion matrix.

    The report and the keys of `options` are listed in pumit/scores.h; None stands for a value that
    is not defined.
    """
    arguments = _judged(task, probabilities, labels)
    return json.loads(
        made_text(lib.pumit_classification_report, *arguments, as_config(options))
    )
