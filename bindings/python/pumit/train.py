# SPDX-License-Identifier: Apache-2.0
"""One training loop for all recipes: data, steps, schedule, log, checkpoints, resume."""

from __future__ import annotations

import json
from typing import Any, Callable, Optional

from ._ffi import PROGRESS_FN, lib
from ._handle import Handle, Owned, made, made_text
from .config import Options, as_config
from .context import Context
from .dataset import Dataset
from .errors import CancelledError, check

#: Called after each step with (step, max_steps, metrics); a true result stops the run.
Progress = Callable[[int, int, "dict[str, Any]"], Any]


class Trainer(Handle):
    """A run: a recipe, its data and its folder. The keys of `config` are listed in pumit/train.h.

    >>> trainer = Trainer(context, images, {"recipe": "tokenizer", "output": "run"})
    >>> trainer.run()  # True when finished, False when stopped
    """

    def __init__(
        self,
        context: Context,
        train: Dataset,
        config: Options,
        validation: Optional[Dataset] = None,
    ) -> None:
        pointer = made(lib.pumit_trainer_create, context, train, validation, as_config(config))
        judges = validation._alive if validation is not None else None
        self._owned = Owned(pointer, lib.pumit_trainer_release, train._alive, judges)

    def run(self, progress: Optional[Progress] = None) -> bool:
        """Runs to the end (True) or until stopped (False); the state is saved in both cases.

        An exception in `progress`, an interrupt by Ctrl-C among them, stops the run after the step,
        and is raised again once the state is saved.
        """
        raised: list[BaseException] = []

        def receive(_user: Optional[int], step: int, max_steps: int, metrics: bytes) -> int:
            try:
                return bool(progress and progress(step, max_steps, json.loads(metrics)))
            except BaseException as failure:
                raised.append(failure)
                return 1

        function = PROGRESS_FN(receive)
        lib.pumit_trainer_set_progress(self, function, None)
        try:
            check(lib.pumit_trainer_run(self))
        except CancelledError:
            if raised:
                raise raised[0] from None
            return False
        finally:
            lib.pumit_trainer_set_progress(self, PROGRESS_FN(), None)
        return True

    def stop(self) -> None:
        """Asks a running trainer to finish its step, save, and return. From any thread."""
        lib.pumit_trainer_stop(self)

    def summary(self) -> dict[str, Any]:
        """Steps, first and last loss, seconds and validation figures of the run that has ended."""
        return json.loads(made_text(lib.pumit_trainer_summary, self))

    @property
    def model_path(self) -> str:
        """Path of the finished model file."""
        return lib.pumit_trainer_model_path(self).decode()
