# SPDX-License-Identifier: Apache-2.0
"""Segmentation: a transformer, a feature pyramid on it, a decoder up to full resolution."""

from __future__ import annotations

import ctypes
from typing import Any, Callable, Optional, Tuple

from ._ffi import SEGMENT_FN, lib
from ._handle import Owned, Path, doubles, made, path_bytes
from .config import Options, as_config
from .context import Context
from .errors import check
from .label_map import LabelMap
from .models import Backbone, Vit
from .module import Model
from .tensor import Tensor
from .volume import Spacing, Volume


class Segmenter(Model):
    """A class for every voxel, for images of one degree of anisotropy or, adaptive, of any spacing.

    Keys: those of Vit for its transformer, with "patch" [d, p, p]; "classes" (required),
    "adaptive", "normalize", "out_indexes", "channels", "full_res_channels", "seed".
    """

    def __init__(self, context: Context, config: Options) -> None:
        pointer = made(lib.pumit_segmenter_create, context, as_config(config))
        self._adopt(Owned(pointer, lib.pumit_segmenter_release), context._alive)

    @classmethod
    def load(cls, context: Context, path: Path) -> Segmenter:
        """Loads a segmenter from a safetensors file."""
        self = cls.__new__(cls)
        pointer = made(lib.pumit_segmenter_load, context, path_bytes(path))
        self._adopt(Owned(pointer, lib.pumit_segmenter_release), context._alive)
        return self

    def share(self, context: Context) -> Segmenter:
        """The same segmenter in another context, on the same weights: see Vit.share()."""
        other = Segmenter.__new__(Segmenter)
        pointer = made(lib.pumit_segmenter_share, context, self)
        other._adopt(Owned(pointer, lib.pumit_segmenter_release), context._alive)
        return other

    def _module_pointer(self) -> int:
        return lib.pumit_segmenter_module(self)

    @property
    def vit(self) -> Vit:
        """The transformer, so that pre-trained weights can be loaded into it."""
        return Backbone(lib.pumit_segmenter_vit(self), self._alive, self._context)

    @property
    def classes(self) -> int:
        """Number of classes, background included."""
        return lib.pumit_segmenter_classes(self)

    @property
    def adaptive(self) -> bool:
        """True if it serves images of any spacing."""
        return bool(lib.pumit_segmenter_adaptive(self))

    def stride(self, spacing: Optional[Spacing] = None) -> Tuple[int, int, int]:
        """Voxels along D, H, W that sizes of images must be multiples of.

        An adaptive segmenter needs the spacing here and below, others do not look at it.
        """
        out = (ctypes.c_int64 * 3)()
        check(lib.pumit_segmenter_stride(out, self, _steps(spacing)))
        return tuple(out)  # type: ignore[return-value]

    def forward(self, image: Tensor, spacing: Optional[Spacing] = None) -> Tensor:
        """Logits (N, D, H, W, classes) of images (N, D, H, W, C)."""
        return Tensor._take(made(lib.pumit_segmenter_forward, self, image, _steps(spacing)))

    def loss(self, image: Tensor, labels: Tensor, spacing: Optional[Spacing] = None) -> Tensor:
        """Dice and cross-entropy at several resolutions, a recorded scalar.

        `labels`: class numbers (N, D, H, W), uint8 or another integer type.
        """
        return Tensor._take(made(lib.pumit_segmenter_loss, self, image, _steps(spacing), labels))

    def segment(
        self,
        volume: Volume,
        options: Options = None,
        progress: Optional[Callable[[int, int], Any]] = None,
    ) -> LabelMap:
        """A label map on the image's voxels, by windows that overlap, in bounded memory.

        The keys of `options` are listed in pumit/segment.h. `progress` is called with (done, total)
        windows; a true result stops the work, and so does an exception, which is raised again.
        """
        raised: list[BaseException] = []

        def receive(_user: Optional[int], done: int, total: int) -> int:
            try:
                return bool(progress and progress(done, total))
            except BaseException as failure:
                raised.append(failure)
                return 1

        function = SEGMENT_FN(receive)
        config = as_config(options)
        try:
            pointer = made(lib.pumit_segmenter_segment, self, volume, config, function, None)
        except Exception:
            if raised:
                raise raised[0] from None
            raise
        return LabelMap._take(pointer)


def _steps(spacing: Optional[Spacing]) -> Any:
    return None if spacing is None else doubles(spacing)
