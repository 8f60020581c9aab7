# SPDX-License-Identifier: Apache-2.0
"""Networks that judge images: the patch discriminator and the perceptual distance LPIPS."""

from __future__ import annotations

from ._ffi import lib
from ._handle import Owned, Path, doubles, made, path_bytes
from .config import Options, as_config
from .context import Context
from .module import Model
from .tensor import Tensor
from .volume import Spacing


class Discriminator(Model):
    """The patch discriminator: a score for every patch, high for real images.

    Keys: "in_channels", "channels", "post_convs", "seed".
    """

    def __init__(self, context: Context, config: Options = None) -> None:
        pointer = made(lib.pumit_discriminator_create, context, as_config(config))
        self._adopt(Owned(pointer, lib.pumit_discriminator_release), context._alive)

    @classmethod
    def load(cls, context: Context, path: Path) -> Discriminator:
        """Loads a discriminator from a safetensors file."""
        self = cls.__new__(cls)
        pointer = made(lib.pumit_discriminator_load, context, path_bytes(path))
        self._adopt(Owned(pointer, lib.pumit_discriminator_release), context._alive)
        return self

    def _module_pointer(self) -> int:
        return lib.pumit_discriminator_module(self)

    def forward(self, image: Tensor, spacing: Spacing) -> Tensor:
        """Scores (N, d, h, w, 1) of images (N, D, H, W, C) in [0, 1]."""
        return Tensor._take(made(lib.pumit_discriminator_forward, self, image, doubles(spacing)))

    def loss(self, real: Tensor, fake: Tensor, spacing: Spacing) -> Tensor:
        """Half the hinge loss, a recorded scalar; nothing flows back to the images."""
        call = lib.pumit_discriminator_loss
        return Tensor._take(made(call, self, real, fake, doubles(spacing)))

    def generator_loss(self, fake: Tensor, spacing: Spacing) -> Tensor:
        """-mean score(fake), a recorded scalar, whose gradient reaches what made `fake`."""
        call = lib.pumit_discriminator_generator_loss
        return Tensor._take(made(call, self, fake, doubles(spacing)))


class Lpips(Model):
    """LPIPS (Zhang et al. 2018): differences of VGG-16 features, mixed by learnt weights; frozen.

    Keys: "channels", "seed".
    """

    def __init__(self, context: Context, config: Options = None) -> None:
        pointer = made(lib.pumit_lpips_create, context, as_config(config))
        self._adopt(Owned(pointer, lib.pumit_lpips_release), context._alive)

    @classmethod
    def load(cls, context: Context, path: Path) -> Lpips:
        """Loads the weights under torchvision's names, whoever wrote the file."""
        self = cls.__new__(cls)
        pointer = made(lib.pumit_lpips_load, context, path_bytes(path))
        self._adopt(Owned(pointer, lib.pumit_lpips_release), context._alive)
        return self

    def _module_pointer(self) -> int:
        return lib.pumit_lpips_module(self)

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """The distance of two batches (N, D, H, W, C) in [0, 1], a recorded scalar: the mean over
        slices, each at least 16x16; C is 3 or 1."""
        return Tensor._take(made(lib.pumit_lpips_distance, self, a, b))
