# SPDX-License-Identifier: Apache-2.0
"""libpumit: one vision transformer for medical images of any voxel spacing, 2D and 3D.

>>> import pumit
>>> context = pumit.Context()
>>> vit = pumit.Vit.load(context, "pumit.safetensors")
>>> vit.embed(pumit.Volume.read(context, "knee.nii.gz")).shape
(1, 768)

A context and everything made from it belong to one thread at a time.
"""

from ._ffi import lib as _lib
from .config import Config
from .context import LOG_INFO, LOG_WARNING, Context, Memory
from .critics import Discriminator, Lpips
from .dataset import Dataset
from .errors import (
    BackendError,
    CancelledError,
    Error,
    FileError,
    FormatError,
    InternalError,
    InvalidArgumentError,
    LimitError,
    NotFoundError,
    OutOfMemoryError,
    ShapeError,
    StateError,
    UnsupportedError,
    status_name,
)
from .models import Classifier, SacConv, Tokenizer, TokenizerTerms, Vit, random_visible
from .module import Model, Parameters, model_file_digest, model_file_info
from .optimizer import Optimizer, cosine_rate
from .prepare import prepare
from .label_map import LabelMap
from .scores import TASKS, Scores, classification_report, classification_scores
from .segmentation_scores import SegmentationReport, SegmentationScores, segmentation_scores
from .segmenter import Segmenter
from .tensor import DTYPES, Tensor, dtype_size
from .train import Trainer
from .volume import Volume, degree_of_anisotropy, file_count, write_png_sheet

#: Release of the library.
__version__: str = _lib.pumit_version().decode()

__all__ = [
    "BackendError",
    "CancelledError",
    "Classifier",
    "Config",
    "Context",
    "DTYPES",
    "Dataset",
    "Discriminator",
    "Error",
    "FileError",
    "FormatError",
    "InternalError",
    "InvalidArgumentError",
    "LOG_INFO",
    "LOG_WARNING",
    "LimitError",
    "Lpips",
    "Memory",
    "Model",
    "NotFoundError",
    "Optimizer",
    "OutOfMemoryError",
    "Parameters",
    "SacConv",
    "Scores",
    "LabelMap",
    "SegmentationReport",
    "SegmentationScores",
    "Segmenter",
    "ShapeError",
    "StateError",
    "TASKS",
    "Tensor",
    "Tokenizer",
    "TokenizerTerms",
    "Trainer",
    "UnsupportedError",
    "Vit",
    "Volume",
    "classification_report",
    "classification_scores",
    "cosine_rate",
    "degree_of_anisotropy",
    "dtype_size",
    "file_count",
    "model_file_digest",
    "model_file_info",
    "prepare",
    "random_visible",
    "segmentation_scores",
    "status_name",
    "write_png_sheet",
]
