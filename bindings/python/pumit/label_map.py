# SPDX-License-Identifier: Apache-2.0
"""Label maps: a class number for each voxel of an image."""

from __future__ import annotations

import ctypes
from typing import Any, Optional, Tuple

import numpy as np

from ._ffi import lib
from ._handle import Handle, Owned, Path, made, path_bytes
from .config import Options, as_config
from .context import Context
from .errors import InvalidArgumentError, check
from .tensor import array_at
from .volume import Volume


class LabelMap(Handle):
    """Class numbers 0..255 (D, H, W) on the grid of a volume, 0 being the background.

    ``LabelMap(context, grid, labels)`` copies an array of `grid`'s first three sizes.
    """

    def __init__(self, context: Context, grid: Volume, labels: Any = None) -> None:
        data = None
        if labels is not None:
            array = np.ascontiguousarray(labels, np.uint8)
            if array.shape != grid.shape[:3] or not np.array_equal(array, labels):
                raise InvalidArgumentError(
                    f"labels are whole numbers 0..255 of shape {grid.shape[:3]}, not {array.shape}"
                )
            data = array.ctypes.data_as(ctypes.POINTER(ctypes.c_uint8))
        pointer = made(lib.pumit_label_map_create, context, grid, data)
        self._owned = Owned(pointer, lib.pumit_label_map_release)

    @classmethod
    def read(cls, context: Context, path: Path, grid: Optional[Volume] = None) -> LabelMap:
        """Reads an image file of whole numbers, which must have the voxels of `grid` if given."""
        return cls._take(made(lib.pumit_label_map_read, context, path_bytes(path), grid))

    @classmethod
    def _take(cls, pointer: int) -> LabelMap:
        self = cls.__new__(cls)
        self._owned = Owned(pointer, lib.pumit_label_map_release)
        return self

    @classmethod
    def _borrow(cls, pointer: int, owner: Owned) -> LabelMap:
        """A label map that belongs to a dataset."""
        self = cls.__new__(cls)
        self._owned = Owned(pointer, lambda _pointer: None, owner)
        return self

    def write(self, path: Path, options: Options = None) -> None:
        """Writes .nii.gz or .nii on the grid of the file that the image is from, or .png.

        Option: "class_names", the background's first.
        """
        check(lib.pumit_label_map_write(self, path_bytes(path), as_config(options)))

    @property
    def shape(self) -> Tuple[int, int, int]:
        """Sizes D, H, W."""
        out = (ctypes.c_int64 * 3)()
        lib.pumit_label_map_shape(self, out)
        return tuple(out)  # type: ignore[return-value]

    @property
    def spacing(self) -> Tuple[float, float, float]:
        """Spacing along D, H, W in mm; the first is infinite for 2D."""
        out = (ctypes.c_double * 3)()
        lib.pumit_label_map_spacing(self, out)
        return tuple(out)  # type: ignore[return-value]

    @property
    def labels(self) -> np.ndarray:
        """The class numbers: uint8 (D, H, W), a read-only array on the map's own memory."""
        data = ctypes.cast(lib.pumit_label_map_labels(self), ctypes.c_void_p).value
        assert data
        return array_at(data, self.shape, np.dtype(np.uint8), self._alive, writeable=False)

    def _describe(self) -> str:
        return " " + "x".join(str(length) for length in self.shape)
