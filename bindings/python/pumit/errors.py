# SPDX-License-Identifier: Apache-2.0
"""Exceptions: one class per status of the library, all of them ``pumit.Error``."""

from __future__ import annotations

from ._ffi import lib


class Error(Exception):
    """A call of the library failed; the text says what, where and, if there is one, the remedy."""

    #: The library's status code, one of the PUMIT_ERROR_* values.
    status: int = 0


class InvalidArgumentError(Error, ValueError):
    """An argument is None, out of range or unknown."""

    status = -1


class OutOfMemoryError(Error, MemoryError):
    """An allocation failed."""

    status = -2


class FileError(Error, OSError):
    """The operating system refused to read or write a file."""

    status = -3


class FormatError(Error, ValueError):
    """A file's content is broken or of another format."""

    status = -4


class UnsupportedError(Error, NotImplementedError):
    """Valid, but not something this version can do."""

    status = -5


class ShapeError(Error, ValueError):
    """Tensors whose shapes or types do not fit together."""

    status = -6


class LimitError(Error):
    """A size is above a limit that can be raised by an option."""

    status = -7


class NotFoundError(Error, LookupError):
    """No such file, key, parameter or device."""

    status = -8


class StateError(Error):
    """The call does not fit the object's state; a closed handle, for one."""

    status = -9


class BackendError(Error):
    """A backend reported a failure of its own."""

    status = -10


class CancelledError(Error):
    """Stopped on request."""

    status = -11


class InternalError(Error):
    """A defect of the library; please report it."""

    status = -12


_BY_STATUS = {kind.status: kind for kind in Error.__subclasses__()}


def status_name(status: int) -> str:
    """Name of a status, such as "PUMIT_ERROR_IO"."""
    return lib.pumit_status_name(status).decode()


def check(status: int) -> None:
    """Raises the exception that belongs to a status; does nothing for PUMIT_OK."""
    if status == 0:
        return
    message = lib.pumit_last_error().decode(errors="replace")
    failure = _BY_STATUS.get(status, Error)(message or status_name(status))
    failure.status = status
    raise failure
