# SPDX-License-Identifier: Apache-2.0
"""AdamW, and the schedule of its learning rate."""

from __future__ import annotations

import ctypes

from ._ffi import lib
from ._handle import Handle, Owned, made
from .config import Options, as_config
from .errors import check
from .module import Model


class Optimizer(Handle):
    """AdamW over a model's parameters; weights of linear and convolution layers alone decay.

    Keys: "beta1", "beta2", "eps", "weight_decay", "clip_norm", "frozen".
    """

    def __init__(self, model: Model, config: Options = None) -> None:
        pointer = made(lib.pumit_optimizer_create, model._module_pointer(), as_config(config))
        self._owned = Owned(pointer, lib.pumit_optimizer_release, model._alive)

    def step(self, learning_rate: float, accumulated: int = 1) -> float:
        """One step with the gathered gradients, which are then forgotten; gives their global norm.

        `accumulated` losses were gathered; the step uses their mean. The norm is taken before
        clipping.
        """
        norm = ctypes.c_double()
        check(lib.pumit_optimizer_step(self, learning_rate, accumulated, ctypes.byref(norm)))
        return norm.value

    @property
    def steps(self) -> int:
        """Steps done so far."""
        return lib.pumit_optimizer_steps(self)

    def _describe(self) -> str:
        return f" {self.steps} steps"


def cosine_rate(
    step: int, base: float, max_steps: int, warmup: int = 0, least: float = 0.0
) -> float:
    """Linear warm-up from 0 to `base` over `warmup` steps, then a cosine down to `least`."""
    return lib.pumit_cosine_rate(step, base, max_steps, warmup, least)
