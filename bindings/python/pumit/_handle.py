# SPDX-License-Identifier: Apache-2.0
"""Lifetimes: what keeps the library's objects alive, and for how long."""

from __future__ import annotations

import ctypes
import os
import weakref
from typing import Any, Callable, Optional, Sequence, Union

from ._ffi import lib
from .errors import StateError, check

Path = Union[str, bytes, "os.PathLike[str]", "os.PathLike[bytes]"]


class Owned:
    """One reference to an object of the library, given up when its last user in Python goes.

    At the end of the process the references left are not given up: arrays that share their memory
    may still be in use, and the memory goes with the process.
    """

    __slots__ = ("pointer", "keep", "__weakref__")

    def __init__(self, pointer: int, release: Callable[[int], Any], *keep: Any) -> None:
        self.pointer = pointer
        self.keep = keep
        weakref.finalize(self, release, pointer).atexit = False


class Handle:
    """Base of all classes that stand for an object of the library.

    ``close()``, or leaving a ``with`` block, gives the object up at once, unless something made
    from it (an array on its memory, a model's parameters) still needs it; so does the last
    reference.
    """

    _owned: Optional[Owned] = None

    @property
    def _alive(self) -> Owned:
        """For an object that has to keep this one alive; raises where the handle is closed."""
        if self._owned is None:
            raise StateError(f"this {type(self).__name__} is closed")
        return self._owned

    @property
    def _as_parameter_(self) -> int:
        """The handle to pass for this object."""
        return self._alive.pointer

    @property
    def closed(self) -> bool:
        """True once the handle was given up."""
        return self._owned is None

    def close(self) -> None:
        """Gives the object up; every later use raises StateError. Calling it again does nothing."""
        self._owned = None

    def __enter__(self):
        _ = self._alive
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self.closed:
            return f"<pumit.{type(self).__name__} closed>"
        return f"<pumit.{type(self).__name__}{self._describe()}>"

    def _describe(self) -> str:
        return ""


def made(call: Callable[..., int], *arguments: Any) -> int:
    """Calls a function that puts a new handle into its first argument; gives the handle."""
    out = ctypes.c_void_p()
    check(call(ctypes.byref(out), *arguments))
    assert out.value is not None
    return out.value


def made_text(call: Callable[..., int], *arguments: Any) -> str:
    """As made(), for a string that has to be freed."""
    pointer = made(call, *arguments)
    try:
        return ctypes.string_at(pointer).decode()
    finally:
        lib.pumit_free(pointer)


def path_bytes(path: Path) -> bytes:
    """A path as the library takes it."""
    return os.fsencode(path)


def doubles(values: Sequence[float]) -> ctypes.Array:
    """A C array of three doubles: spacings {slice, row, column} in mm."""
    return (ctypes.c_double * 3)(*values)


def handles(objects: Sequence[Handle]) -> ctypes.Array:
    """A C array of handles."""
    return (ctypes.c_void_p * len(objects))(*[each._as_parameter_ for each in objects])


def int64s(values: Sequence[int]) -> ctypes.Array:
    """A C array of sizes."""
    return (ctypes.c_int64 * len(values))(*values)
