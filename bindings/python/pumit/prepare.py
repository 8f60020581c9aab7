# SPDX-License-Identifier: Apache-2.0
"""Prepared sets: images of any kind as a table and float16 arrays that training reads from."""

from __future__ import annotations

import ctypes
import json
import os
from typing import Any, Callable, Optional, Sequence, Union

from ._ffi import PREPARE_FN, lib
from ._handle import Path, made_text, path_bytes
from .config import Options, as_config
from .context import Context

#: Called as sources are done with (done, total, path); a true result stops the work.
PrepareProgress = Callable[[int, int, str], Any]


def prepare(
    context: Context,
    paths: Union[Path, Sequence[Path]],
    options: Options,
    progress: Optional[PrepareProgress] = None,
) -> dict[str, Any]:
    """Prepares images into the folder ``options["output"]`` and gives the report.

    The keys of `options` and the report are listed in pumit/prepare.h. Repeating the call goes on
    where an interrupted one ended, and takes what is new. An exception in `progress` stops the work
    after the images at hand, and is raised again.
    """
    names: Sequence[Any] = list(paths) if isinstance(paths, (list, tuple)) else [paths]
    array = (ctypes.c_char_p * len(names))(*(path_bytes(name) for name in names))
    raised: list[BaseException] = []

    def receive(_user: Optional[int], done: int, total: int, path: bytes) -> int:
        try:
            return bool(progress and progress(done, total, os.fsdecode(path)))
        except BaseException as failure:
            raised.append(failure)
            return 1

    try:
        call, function = lib.pumit_prepare, PREPARE_FN(receive)
        return json.loads(
            made_text(call, context, len(names), array, as_config(options), function, None)
        )
    except Exception:
        if raised:
            raise raised[0] from None
        raise
