# SPDX-License-Identifier: Apache-2.0
"""DLPack capsules: https://dmlc.github.io/dlpack, version 0."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, c_char_p, c_int, c_int32, c_int64, c_uint8, c_uint16
from ctypes import c_uint64, c_void_p, byref, py_object
from typing import Any

from ._ffi import lib
from ._handle import made

#: (device type, number) of host memory.
HOST = (1, 0)

# Capsules point to their names, so these must live as long as the process.
_FRESH = c_char_p(b"dltensor")
_USED = c_char_p(b"used_dltensor")


class _Tensor(Structure):
    _fields_ = [
        ("data", c_void_p),
        ("device_type", c_int32),
        ("device_id", c_int32),
        ("ndim", c_int32),
        ("type_code", c_uint8),
        ("type_bits", c_uint8),
        ("type_lanes", c_uint16),
        ("shape", POINTER(c_int64)),
        ("strides", POINTER(c_int64)),
        ("byte_offset", c_uint64),
    ]


class _Managed(Structure):
    pass


_DELETER = ctypes.CFUNCTYPE(None, POINTER(_Managed))
_Managed._fields_ = [
    ("dl_tensor", _Tensor),
    ("manager_ctx", c_void_p),
    ("deleter", _DELETER),
]

_DESTRUCTOR = ctypes.CFUNCTYPE(None, c_void_p)


def _python(name: str, result: Any, *arguments: Any) -> Any:
    """A function of the interpreter with types of our own, which others' use does not change."""
    return ctypes.PYFUNCTYPE(result, *arguments)((name, ctypes.pythonapi))


_new = _python("PyCapsule_New", py_object, c_void_p, c_char_p, _DESTRUCTOR)
_pointer = _python("PyCapsule_GetPointer", c_void_p, py_object, c_char_p)
_is_valid = _python("PyCapsule_IsValid", c_int, py_object, c_char_p)
_set_name = _python("PyCapsule_SetName", c_int, py_object, c_char_p)
# A capsule that is being destroyed has no references: it must not become a Python object again.
_dying_pointer = _python("PyCapsule_GetPointer", c_void_p, c_void_p, c_char_p)
_dying_is_valid = _python("PyCapsule_IsValid", c_int, c_void_p, c_char_p)


def _destructor() -> Any:
    """What frees a tensor that no one took out of its capsule.

    It may be called when the interpreter clears modules at its end, so it holds all it needs
    itself, and is never freed.
    """
    is_valid, pointer, fresh = _dying_is_valid, _dying_pointer, _FRESH
    managed_tensor, reference = _Managed, byref

    def destroy(capsule: int) -> None:
        if is_valid(capsule, fresh):
            managed = managed_tensor.from_address(pointer(capsule, fresh))
            managed.deleter(reference(managed))

    function = _DESTRUCTOR(destroy)
    ctypes.pythonapi.Py_IncRef(py_object(function))
    return function


_destroy = _destructor()


def produce(managed: int) -> Any:
    """A capsule from a DLManagedTensor pointer."""
    return _new(managed, _FRESH, _destroy)


def consume(source: Any, context: Any) -> int:
    """A tensor handle on the memory of an object that has ``__dlpack__``."""
    if tuple(source.__dlpack_device__()) != HOST:
        raise BufferError("only host memory can be shared; copy the array to the host first")
    capsule = source.__dlpack__()
    if not _is_valid(capsule, _FRESH):
        raise BufferError(f"{type(source).__name__}.__dlpack__ gave no unused DLPack capsule")
    handle = made(lib.pumit_tensor_from_dlpack, context, _pointer(capsule, _FRESH))
    _set_name(capsule, _USED)
    return handle
