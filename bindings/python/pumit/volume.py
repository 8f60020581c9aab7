# SPDX-License-Identifier: Apache-2.0
"""Volumes: images with their geometry, voxel-to-world affines in RAS and mm."""

from __future__ import annotations

import ctypes
from typing import Any, Optional, Sequence, Tuple

import numpy as np

from ._ffi import lib
from ._handle import Handle, Owned, Path, doubles, int64s, made, path_bytes
from .context import Context
from .errors import FileError, InvalidArgumentError, check
from .tensor import Tensor, array_at, dtype_number

Spacing = Sequence[float]  #: {slice, row, column} in mm; slice is infinite for 2D


class Volume(Handle):
    """Voxels (D, H, W, C) with a spacing in mm; D is the slice axis, 1 for a 2D image.

    ``Volume(context, array, affine)`` copies an array of shape (a, b, c) or (a, b, c, channels),
    whose first three axes may be in any order; the 4x4 `affine` maps their indices to world mm.
    Without one the array is a 2D image: (1, H, W) or (1, H, W, channels).
    """

    def __init__(self, context: Context, voxels: Any, affine: Any = None) -> None:
        array = np.ascontiguousarray(voxels)
        if array.ndim not in (3, 4):
            raise InvalidArgumentError(f"a volume has 3 or 4 axes, not {array.ndim}")
        matrix = None
        if affine is not None:
            values = np.ascontiguousarray(affine, np.float64)
            if values.shape != (4, 4):
                raise InvalidArgumentError(f"an affine is a 4x4 matrix, not {values.shape}")
            matrix = values.ctypes.data_as(ctypes.POINTER(ctypes.c_double))
        pointer = made(
            lib.pumit_volume_create,
            context,
            dtype_number(array.dtype),
            int64s(array.shape[:3]),
            array.shape[3] if array.ndim == 4 else 1,
            array.ctypes.data,
            matrix,
        )
        self._adopt(Owned(pointer, lib.pumit_volume_release), context._alive)

    def _adopt(self, owned: Owned, context: Owned) -> None:
        self._owned = owned
        self._context = context

    @classmethod
    def read(cls, context: Context, path: Path, index: int = 0) -> Volume:
        """Reads NIfTI, PNG or JPEG; the content decides. `index` is the volume of a 4D file."""
        self = cls.__new__(cls)
        pointer = made(lib.pumit_volume_read, context, path_bytes(path), index)
        self._adopt(Owned(pointer, lib.pumit_volume_release), context._alive)
        return self

    @classmethod
    def _borrow(cls, pointer: int, owner: Owned, context: Owned) -> Volume:
        """A volume that belongs to a dataset."""
        self = cls.__new__(cls)
        self._adopt(Owned(pointer, lambda _pointer: None, owner), context)
        return self

    @property
    def shape(self) -> Tuple[int, int, int, int]:
        """Sizes D, H, W, C."""
        out = (ctypes.c_int64 * 4)()
        lib.pumit_volume_shape(self, out)
        return tuple(out)  # type: ignore[return-value]

    @property
    def spacing(self) -> Tuple[float, float, float]:
        """Spacing along D, H, W in mm; the first is infinite for 2D."""
        out = (ctypes.c_double * 3)()
        lib.pumit_volume_spacing(self, out)
        return tuple(out)  # type: ignore[return-value]

    @property
    def anisotropy(self) -> int:
        """Degree of anisotropy, 0..5."""
        return lib.pumit_volume_anisotropy(self)

    @property
    def affine(self) -> np.ndarray:
        """4x4 matrix from (d, h, w, 1) to world RAS mm."""
        out = (ctypes.c_double * 16)()
        lib.pumit_volume_affine(self, out)
        return np.array(out).reshape(4, 4)

    @property
    def source_axes(self) -> Tuple[int, int, int]:
        """The source's axes that D, H and W came from."""
        out = (ctypes.c_int32 * 3)()
        lib.pumit_volume_source_axes(self, out)
        return tuple(out)  # type: ignore[return-value]

    @property
    def modality(self) -> str:
        """ "MR", "CT", "US", ... as far as known, else ""."""
        return lib.pumit_volume_modality(self).decode()

    @property
    def voxels(self) -> np.ndarray:
        """The voxels as stored, scaled by the file's slope and intercept: float32 (D, H, W, C).

        A read-only array on the volume's own memory, which it keeps alive.
        """
        data = ctypes.cast(lib.pumit_volume_voxels(self), ctypes.c_void_p).value
        if not data:
            raise FileError(lib.pumit_last_error().decode(errors="replace"))
        return array_at(data, self.shape, np.dtype(np.float32), self._alive, writeable=False)

    def to_tensor(self, channels: int = 3, context: Optional[Context] = None) -> Tensor:
        """The image as networks take it: (1, D, H, W, channels), intensities in [0, 1]."""
        target = context if context is not None else self._context.pointer
        return Tensor._take(made(lib.pumit_volume_to_tensor, self, target, channels))

    def to_patches(
        self,
        patch: Sequence[int],
        channels: int = 3,
        max_tokens: int = 0,
        context: Optional[Context] = None,
    ) -> Tuple[Tensor, Tuple[float, float, float]]:
        """As to_tensor(), resampled to whole patches of a network, with the spacing to pass on.

        `patch` is a model's ``patch``; `max_tokens` limits their number (0: no limit).
        """
        target = context if context is not None else self._context.pointer
        spacing = (ctypes.c_double * 3)()
        call = lib.pumit_volume_to_patches
        image = made(call, spacing, self, target, channels, int64s(patch), max_tokens)
        return Tensor._take(image), tuple(spacing)  # type: ignore[return-value]

    def _describe(self) -> str:
        size = "x".join(str(length) for length in self.shape)
        return f" {size}, {' x '.join(f'{step:g}' for step in self.spacing)} mm"


def file_count(context: Context, path: Path) -> int:
    """Number of volumes in a file: 1 unless it is a 4D NIfTI file."""
    out = ctypes.c_int64()
    check(lib.pumit_volume_file_count(ctypes.byref(out), context, path_bytes(path)))
    return out.value


def degree_of_anisotropy(spacing: Spacing) -> int:
    """Degree of anisotropy, 0..5, of a spacing {slice, row, column} in mm."""
    out = ctypes.c_int32()
    check(lib.pumit_degree_of_anisotropy(ctypes.byref(out), doubles(spacing)))
    return out.value


def write_png_sheet(path: Path, images: Tensor, columns: int = 0) -> None:
    """Writes (D, H, W, C) or (N, H, W, C) in [0, 1] as PNG: the leading axis as tiles.

    `columns` of them make a row (0: near a square).
    """
    check(lib.pumit_write_png_sheet(path_bytes(path), images, columns))
