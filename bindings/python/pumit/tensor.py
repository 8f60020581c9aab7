# SPDX-License-Identifier: Apache-2.0
"""Tensors: arrays of up to eight dimensions, channels last, shared with NumPy and DLPack."""

from __future__ import annotations

import ctypes
from typing import Any, Dict, Optional, Sequence, Tuple

import numpy as np

from . import _dlpack
from ._ffi import lib
from ._handle import Handle, Owned, int64s, made
from .context import Context
from .errors import UnsupportedError, check

#: The library's numbers of element types.
DTYPES = {
    "float32": 1,
    "float64": 2,
    "float16": 3,
    "bfloat16": 4,
    "uint8": 5,
    "int16": 6,
    "int32": 7,
    "int64": 8,
}
_NAMES = {number: name for name, number in DTYPES.items()}


def dtype_number(dtype: Any) -> int:
    """The library's number of an element type given as a name or a NumPy type."""
    name = dtype if dtype == "bfloat16" else np.dtype(dtype).name
    if name not in DTYPES:
        raise UnsupportedError(
            f"tensors have no element type {name}; there are {', '.join(DTYPES)}"
        )
    return DTYPES[name]


def dtype_size(dtype: Any) -> int:
    """Bytes of one element."""
    return lib.pumit_dtype_size(dtype_number(dtype))


class Tensor(Handle):
    """An array in a context's memory. Images are (N, D, H, W, C), token sequences (N, L, C).

    ``Tensor(context, array)`` copies, ``Tensor.from_dlpack(array, context)`` shares. ``numpy()``
    and ``numpy.asarray`` give an array on the tensor's own memory, which stays valid for as long as
    the array lives.
    """

    def __init__(self, context: Context, values: Any, dtype: Any = None) -> None:
        array = np.ascontiguousarray(values, dtype=dtype)
        shape = np.shape(values)  # ascontiguousarray makes a scalar one-dimensional
        self._owned = _own(
            made(
                lib.pumit_tensor_from_data,
                context,
                dtype_number(array.dtype),
                len(shape),
                int64s(shape),
                array.ctypes.data,
            )
        )

    @classmethod
    def _take(cls, pointer: int) -> Tensor:
        """A tensor from a new reference."""
        self = cls.__new__(cls)
        self._owned = _own(pointer)
        return self

    @classmethod
    def _share(cls, pointer: int) -> Tensor:
        """A tensor from a borrowed reference."""
        return cls._take(lib.pumit_tensor_retain(pointer))

    @classmethod
    def zeros(cls, context: Context, shape: Sequence[int], dtype: Any = "float32") -> Tensor:
        """A new tensor of zeros."""
        call = lib.pumit_tensor_create
        return cls._take(made(call, context, dtype_number(dtype), len(shape), int64s(shape)))

    @classmethod
    def from_dlpack(cls, source: Any, context: Context) -> Tensor:
        """A tensor on the memory of a NumPy array, a torch tensor or whatever speaks DLPack.

        Nothing is copied; the source is kept alive. Host memory only.
        """
        return cls._take(_dlpack.consume(source, context))

    @property
    def dtype(self) -> str:
        """Name of the element type, "float32"."""
        return _NAMES[lib.pumit_tensor_dtype(self)]

    @property
    def ndim(self) -> int:
        """Number of dimensions."""
        return lib.pumit_tensor_ndim(self)

    @property
    def shape(self) -> Tuple[int, ...]:
        """Sizes, outermost first."""
        return tuple(lib.pumit_tensor_shape(self)[: self.ndim])

    @property
    def size(self) -> int:
        """Number of elements."""
        return lib.pumit_tensor_count(self)

    def numpy(self) -> np.ndarray:
        """The elements as an array on the tensor's own memory.

        After writing to a parameter call ``touch()``. A strided view or bfloat16 has no such
        array: UnsupportedError; ``read()`` copies it.
        """
        name = self.dtype
        if name == "bfloat16":
            raise UnsupportedError("NumPy has no bfloat16; read() converts")
        data = made(lib.pumit_tensor_data, self) if self.size else 0
        owner = _own(lib.pumit_tensor_retain(self))
        return array_at(data, self.shape, np.dtype(name), owner)

    def read(self, dtype: Any = "float32") -> np.ndarray:
        """A copy of the elements, converted."""
        array = np.empty(self.shape, dtype)
        call = lib.pumit_tensor_read
        check(call(self, dtype_number(array.dtype), array.ctypes.data, array.nbytes))
        return array

    def write(self, values: Any) -> None:
        """Overwrites all elements from an array with as many, converted."""
        array = np.ascontiguousarray(values)
        call = lib.pumit_tensor_write
        check(call(self, dtype_number(array.dtype), array.ctypes.data, array.nbytes))

    def touch(self) -> None:
        """Says that the elements were written from outside, so that what was computed is stale."""
        lib.pumit_tensor_touch(self)

    def item(self) -> float:
        """The value of a one-element tensor."""
        out = ctypes.c_double()
        check(lib.pumit_tensor_item(ctypes.byref(out), self))
        return out.value

    def requires_grad_(self, on: bool = True) -> Tensor:
        """Marks a tensor (not the result of an operation) as one whose gradient is wanted."""
        check(lib.pumit_tensor_set_requires_grad(self, on))
        return self

    def backward(self) -> None:
        """Walks the tape from this scalar back and adds to the gradients of all it depends on."""
        check(lib.pumit_tensor_backward(self))

    @property
    def grad(self) -> Optional[Tensor]:
        """The gathered gradient, of the same shape; None if there is none."""
        out = ctypes.c_void_p()
        status = lib.pumit_tensor_grad(ctypes.byref(out), self)
        if status == -8:  # PUMIT_ERROR_NOT_FOUND
            return None
        check(status)
        assert out.value is not None
        return Tensor._take(out.value)

    def __dlpack_device__(self) -> Tuple[int, int]:
        """Host memory."""
        return _dlpack.HOST

    def __dlpack__(
        self,
        *,
        stream: Any = None,
        max_version: Optional[Tuple[int, int]] = None,
        dl_device: Optional[Tuple[int, int]] = None,
        copy: Optional[bool] = None,
    ) -> Any:
        """A DLPack capsule on the tensor's memory, for ``from_dlpack`` of NumPy and torch."""
        if stream is not None or copy or (dl_device is not None and dl_device != _dlpack.HOST):
            raise BufferError("tensors are shared in host memory, without copies or streams")
        return _dlpack.produce(made(lib.pumit_tensor_to_dlpack, self))

    def __array__(self, dtype: Any = None, copy: Optional[bool] = None) -> np.ndarray:
        array = self.numpy()
        if dtype is not None and np.dtype(dtype) != array.dtype:
            return array.astype(dtype)
        return array.copy() if copy else array

    def __len__(self) -> int:
        if self.ndim == 0:
            raise TypeError("a scalar has no length")
        return self.shape[0]

    def _describe(self) -> str:
        return f" {self.dtype} {self.shape}"


def _own(pointer: int) -> Owned:
    return Owned(pointer, lib.pumit_tensor_release)


class _Memory:
    """Memory of the library as NumPy takes it; the array keeps this object, and this the owner."""

    def __init__(self, interface: Dict[str, Any], owner: Owned) -> None:
        self.__array_interface__ = interface
        self.owner = owner


def array_at(
    data: int, shape: Sequence[int], dtype: np.dtype, owner: Owned, writeable: bool = True
) -> np.ndarray:
    """An array on memory that lives as long as `owner`, which the array keeps."""
    if 0 in shape:
        return np.empty(shape, dtype)
    place = (data, not writeable)
    interface = {"version": 3, "data": place, "shape": tuple(shape), "typestr": dtype.str}
    return np.asarray(_Memory(interface, owner))
