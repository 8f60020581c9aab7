# SPDX-License-Identifier: Apache-2.0
"""Contexts: the device, the threads, the memory and the tape that tensors and models live in."""

from __future__ import annotations

import contextlib
import ctypes
from typing import Any, Callable, Iterator, NamedTuple, Optional

from ._ffi import LOG_FN, lib
from ._handle import Handle, Owned, made
from .config import Config, Options, as_config
from .errors import check

LOG_INFO = 0
LOG_WARNING = 1


class Memory(NamedTuple):
    """Counters of the memory that tensors live in."""

    in_use: int  #: bytes
    peak: int  #: bytes
    system_allocations: int  #: how often the system was asked for more


class Context(Handle):
    """A device with its threads, memory and tape. Belongs to one thread at a time.

    Keys may be given as a mapping, as keywords, or both: ``Context(device="cpu", threads=2)``.
    "device" is "cpu", "reference" or "reference64"; "threads" defaults to all cores;
    "weight_type" is "f32", "bf16" or "f16", what transformers that are loaded for inference hold
    their matrices in; "limits.voxels" is the largest image that will be read, "limits.ratio" how
    many bytes a byte of a large one may become, "limits.parameters" the largest model that will be
    made.
    """

    def __init__(self, options: Options = None, **keys: Any) -> None:
        config = as_config(options)
        if keys:
            merged = Config() if config is None else Config(config.to_dict())
            for key, value in keys.items():
                merged[key] = value
            config = merged
        self._log: dict[str, Any] = {}
        pointer = made(lib.pumit_context_create, config)
        self._owned = Owned(pointer, _releaser(self._log))

    @property
    def device(self) -> str:
        """Name of the device, "cpu"."""
        return lib.pumit_context_device(self).decode()

    @property
    def threads(self) -> int:
        """Compute threads of this context."""
        return lib.pumit_context_threads(self)

    def set_log(self, log: Optional[Callable[[int, str], None]]) -> None:
        """Sends messages that are no errors to ``log(level, message)``; None drops them."""
        if log is None:
            lib.pumit_context_set_log(self, LOG_FN(), None)
            self._log.clear()
            return

        def receive(_user: Optional[int], level: int, message: bytes) -> None:
            log(level, message.decode(errors="replace"))

        function = LOG_FN(receive)
        lib.pumit_context_set_log(self, function, None)
        self._log["function"] = function

    def set_recording(self, on: bool) -> bool:
        """Turns recording for gradients on or off; gives the earlier state."""
        return lib.pumit_context_set_recording(self, on) != 0

    @contextlib.contextmanager
    def recording(self, on: bool = True) -> Iterator[None]:
        """Recording inside a ``with`` block. Methods that give a loss record by themselves."""
        earlier = self.set_recording(on)
        try:
            yield
        finally:
            self.set_recording(earlier)

    @property
    def memory(self) -> Memory:
        """What tensors use now, the most they used, and how often the system was asked."""
        values = [ctypes.c_int64() for _ in range(3)]
        check(lib.pumit_context_memory(self, *(ctypes.byref(value) for value in values)))
        return Memory(*(value.value for value in values))

    def trim(self) -> None:
        """Gives cached, unused memory back to the system."""
        lib.pumit_context_trim(self)

    def _describe(self) -> str:
        return f" {self.device}, {self.threads} threads"


def _releaser(log: dict[str, Any]) -> Callable[[int], None]:
    """Tensors may outlive this handle and keep the context; the log function does not."""

    def release(pointer: int) -> None:
        lib.pumit_context_set_log(pointer, LOG_FN(), None)
        lib.pumit_context_release(pointer)
        log.clear()

    return release
