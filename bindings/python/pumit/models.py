# SPDX-License-Identifier: Apache-2.0
"""Networks: the SAC layer, the tokenizer, the vision transformer, the classifier.

Images are tensors (N, D, H, W, C) with values in [0, 1]; `spacing` is {slice, row, column} in mm,
with an infinite slice spacing for 2D. ``Volume.to_patches()`` makes such images.
"""

from __future__ import annotations

import ctypes
from typing import NamedTuple, Optional, Sequence, Tuple

from ._ffi import lib
from ._handle import Owned, Path, doubles, handles, int64s, made, path_bytes
from .config import Options, as_config
from .context import Context
from .errors import InvalidArgumentError, check
from .module import Model
from .tensor import Tensor
from .volume import Spacing, Volume


class SacConv(Model):
    """The spatially adaptive convolution: one set of weights for any voxel spacing.

    Keys: "in_channels", "out_channels", "kernel", "stride", "padding", "transposed", "bias",
    "seed".
    """

    def __init__(self, context: Context, config: Options) -> None:
        pointer = made(lib.pumit_sac_conv_create, context, as_config(config))
        self._adopt(Owned(pointer, lib.pumit_sac_conv_release), context._alive)

    def _module_pointer(self) -> int:
        return lib.pumit_sac_conv_module(self)

    def forward(
        self, src: Tensor, spacing: Spacing, down: int = 0
    ) -> Tuple[Tensor, Tuple[float, float, float], int]:
        """Applies the layer to src (N, D, H, W, in_channels); gives (result, spacing, halvings).

        `spacing` is that of the image that `src` was computed from, `down` the in-plane halvings
        between that image and `src`.
        """
        after, halvings = (ctypes.c_double * 3)(), ctypes.c_int32()
        call = lib.pumit_sac_conv_forward
        out = made(call, after, ctypes.byref(halvings), self, src, doubles(spacing), down)
        return Tensor._take(out), tuple(after), halvings.value  # type: ignore[return-value]

    def forward_da(self, src: Tensor, da: int, down: int = 0) -> Tuple[Tensor, int]:
        """As forward(), for callers who know the image's degree of anisotropy, 0..5."""
        halvings = ctypes.c_int32()
        call = lib.pumit_sac_conv_forward_da
        out = made(call, ctypes.byref(halvings), self, src, da, down)
        return Tensor._take(out), halvings.value


class TokenizerTerms(NamedTuple):
    """The parts of a tokenizer's training loss."""

    l1: float  #: mean absolute error, images in [-1, 1]
    prior: float  #: sum m ln m of the mean token distribution m
    entropy: float  #: mean entropy of the token distributions, nats
    mse: float  #: mean squared error, images in [0, 1]


class Tokenizer(Model):
    """The universal visual tokenizer: images of any spacing to tokens and back.

    Keys: "model" ("simple" or "vqvae"), "mode" ("soft", "gumbel" or "nearest"), "in_channels",
    "channels", "codes", "code_dim", "seed"; the rest is listed in pumit/tokenizer.h.
    """

    def __init__(self, context: Context, config: Options = None) -> None:
        pointer = made(lib.pumit_tokenizer_create, context, as_config(config))
        self._adopt(Owned(pointer, lib.pumit_tokenizer_release), context._alive)

    @classmethod
    def load(cls, context: Context, path: Path) -> Tokenizer:
        """Loads a tokenizer from a safetensors file."""
        self = cls.__new__(cls)
        pointer = made(lib.pumit_tokenizer_load, context, path_bytes(path))
        self._adopt(Owned(pointer, lib.pumit_tokenizer_release), context._alive)
        return self

    def share(self, context: Context) -> Tokenizer:
        """The same tokenizer in another context, on the same weights: see Vit.share()."""
        other = Tokenizer.__new__(Tokenizer)
        pointer = made(lib.pumit_tokenizer_share, context, self)
        other._adopt(Owned(pointer, lib.pumit_tokenizer_release), context._alive)
        return other

    def _module_pointer(self) -> int:
        return lib.pumit_tokenizer_module(self)

    @property
    def codes(self) -> int:
        """Size of the codebook."""
        return lib.pumit_tokenizer_codes(self)

    @property
    def channels(self) -> int:
        """Channels of the images it takes."""
        return lib.pumit_tokenizer_channels(self)

    @property
    def patch(self) -> Tuple[int, int, int]:
        """Voxels of one token along D, H, W for an isotropic image."""
        return tuple(lib.pumit_tokenizer_patch(self)[:3])  # type: ignore[return-value]

    def encode(self, image: Tensor, spacing: Spacing) -> Tensor:
        """Tokens of an image, (N, d, h, w, codes): probabilities, or a single code each."""
        return Tensor._take(made(lib.pumit_tokenizer_encode, self, image, doubles(spacing)))

    def decode(self, tokens: Tensor, spacing: Spacing) -> Tensor:
        """The image (N, D, H, W, C) of tokens, clamped to [0, 1]."""
        return Tensor._take(made(lib.pumit_tokenizer_decode, self, tokens, doubles(spacing)))

    def reconstruct(self, image: Tensor, spacing: Spacing) -> Tensor:
        """decode(encode(image))."""
        return Tensor._take(made(lib.pumit_tokenizer_reconstruct, self, image, doubles(spacing)))

    def loss(
        self,
        image: Tensor,
        spacing: Spacing,
        quant_weight: float = 1.0,
        entropy_weight: float = 1.0,
    ) -> Tuple[Tensor, TokenizerTerms]:
        """The training loss, a recorded scalar, and its parts.

        L1 + quant_weight prior + entropy_weight entropy.
        """
        terms = (ctypes.c_double * 4)()
        call = lib.pumit_tokenizer_loss
        out = made(call, terms, self, image, doubles(spacing), quant_weight, entropy_weight)
        return Tensor._take(out), TokenizerTerms(*terms)

    def set_step(self, step: int, max_steps: int) -> None:
        """Says of which step the losses to come are: temperature and noise of mode "gumbel"."""
        check(lib.pumit_tokenizer_set_step(self, step, max_steps))

    @property
    def temperature(self) -> float:
        """Temperature of mode "gumbel" at the step that was set."""
        return lib.pumit_tokenizer_temperature(self)


class Vit(Model):
    """The universal vision transformer.

    Keys: "in_channels", "patch", "dim", "depth", "heads", "hidden", "pos_embed_shape", "rope_base",
    "codes", "mask_layers", "pool", "max_tokens", "seed".
    """

    def __init__(self, context: Context, config: Options = None) -> None:
        pointer = made(lib.pumit_vit_create, context, as_config(config))
        self._adopt(Owned(pointer, lib.pumit_vit_release), context._alive)

    @classmethod
    def load(cls, context: Context, path: Path) -> Vit:
        """Loads a transformer from a safetensors file; from a classifier's file its backbone."""
        self = cls.__new__(cls)
        pointer = made(lib.pumit_vit_load, context, path_bytes(path))
        self._adopt(Owned(pointer, lib.pumit_vit_release), context._alive)
        return self

    def share(self, context: Context) -> Vit:
        """The same transformer in another context, for inference, on the memory of the same weights.

        Threads, each with a context of its own, so serve one model that is in memory once.
        While several models read them, weights cannot be changed.
        """
        other = Vit.__new__(Vit)
        pointer = made(lib.pumit_vit_share, context, self)
        other._adopt(Owned(pointer, lib.pumit_vit_release), context._alive)
        return other

    def _module_pointer(self) -> int:
        return lib.pumit_vit_module(self)

    @property
    def dim(self) -> int:
        """Width of its tokens."""
        return lib.pumit_vit_dim(self)

    @property
    def channels(self) -> int:
        """Channels of the images it takes."""
        return lib.pumit_vit_channels(self)

    @property
    def patch(self) -> Tuple[int, int, int]:
        """Voxels of a patch along D, H, W for an isotropic image."""
        return tuple(lib.pumit_vit_patch(self)[:3])  # type: ignore[return-value]

    def set_recompute(self, on: bool) -> None:
        """Whether training computes the inside of blocks again in backward instead of keeping it:
        a fifth of the memory, a third more time."""
        lib.pumit_vit_set_recompute(self, on)

    def grid(self, size: Sequence[int], spacing: Spacing) -> Tuple[int, int, int]:
        """The token grid d, h, w of an image of `size` voxels D, H, W."""
        out = (ctypes.c_int64 * 3)()
        check(lib.pumit_vit_grid(out, self, int64s(size), doubles(spacing)))
        return tuple(out)  # type: ignore[return-value]

    def forward(self, image: Tensor, spacing: Spacing) -> Tensor:
        """Hidden states after the last norm, (N, 1 + d h w, dim); row 0 is the class token."""
        return Tensor._take(made(lib.pumit_vit_forward, self, image, doubles(spacing)))

    def embed(self, volume: Volume) -> Tensor:
        """One vector (1, dim) for a volume of any size and spacing."""
        return Tensor._take(made(lib.pumit_vit_embed, self, volume))

    def embed_packed(self, volumes: Sequence[Volume]) -> Tensor:
        """The vectors (n, dim) of n volumes of any sizes and spacings, in one go without padding."""
        call = lib.pumit_vit_embed_packed
        return Tensor._take(made(call, self, len(volumes), handles(volumes)))

    def mim_loss(
        self, tokenizer: Tokenizer, image: Tensor, spacing: Spacing, visible: Tensor
    ) -> Tensor:
        """The masked-modelling loss, a recorded scalar. `visible` (N, K): sorted token numbers."""
        call = lib.pumit_vit_mim_loss
        return Tensor._take(made(call, self, tokenizer, image, doubles(spacing), visible))

    def mim_loss_packed(
        self,
        tokenizer: Tokenizer,
        images: Sequence[Tensor],
        spacings: Sequence[Spacing],
        visible: Sequence[Tensor],
    ) -> Tensor:
        """mim_loss() of tensors of different shapes and spacings: the mean over all images."""
        count = len(images)
        if len(spacings) != count or len(visible) != count:
            raise InvalidArgumentError(
                f"{count} images, {len(spacings)} spacings, {len(visible)} tensors of visible tokens"
            )
        flat = (ctypes.c_double * (3 * count))(*[mm for each in spacings for mm in doubles(each)])
        call = lib.pumit_vit_mim_loss_packed
        return Tensor._take(
            made(call, self, tokenizer, count, handles(images), flat, handles(visible))
        )

    def predict(self, image: Tensor, spacing: Spacing, visible: Tensor) -> Tensor:
        """Token probabilities (N, d, h, w, codes) when only `visible` tokens are shown."""
        return Tensor._take(made(lib.pumit_vit_predict, self, image, doubles(spacing), visible))


def random_visible(
    context: Context, n: int, length: int, mask_ratio: float, seed: int = 0
) -> Tensor:
    """A random choice of visible tokens for masked modelling: int64 (n, K), sorted.

    K = max(1, floor((1 - mask_ratio) length)); a function of `seed` alone.
    """
    call = lib.pumit_vit_random_visible
    return Tensor._take(made(call, context, n, length, mask_ratio, seed))


class Backbone(Vit):
    """A transformer that belongs to another network, which it keeps alive."""

    def __init__(self, pointer: int, owner: Owned, context: Owned) -> None:
        self._adopt(Owned(pointer, lambda _pointer: None, owner), context)


class Classifier(Model):
    """A transformer with a linear classification head.

    ``Classifier(vit, {"classes": 2})`` puts a new head (zero weights) on a shared transformer.
    """

    def __init__(self, vit: Vit, config: Options) -> None:
        pointer = made(lib.pumit_classifier_create, vit, as_config(config))
        self._adopt(Owned(pointer, lib.pumit_classifier_release), vit._context)

    @classmethod
    def load(cls, context: Context, path: Path) -> Classifier:
        """Loads a classifier from a safetensors file."""
        self = cls.__new__(cls)
        pointer = made(lib.pumit_classifier_load, context, path_bytes(path))
        self._adopt(Owned(pointer, lib.pumit_classifier_release), context._alive)
        return self

    def share(self, context: Context) -> Classifier:
        """The same classifier in another context, on the same weights: see Vit.share()."""
        other = Classifier.__new__(Classifier)
        pointer = made(lib.pumit_classifier_share, context, self)
        other._adopt(Owned(pointer, lib.pumit_classifier_release), context._alive)
        return other

    def _module_pointer(self) -> int:
        return lib.pumit_classifier_module(self)

    @property
    def vit(self) -> Vit:
        """The transformer."""
        return Backbone(lib.pumit_classifier_vit(self), self._alive, self._context)

    @property
    def classes(self) -> int:
        """Number of classes."""
        return lib.pumit_classifier_classes(self)

    @property
    def task(self) -> str:
        """"classes", "labels" (any number of them at once) or "grades" (classes in an order)."""
        return ("", "classes", "labels", "grades")[lib.pumit_classifier_task(self)]

    def class_name(self, c: int) -> Optional[str]:
        """What a class is called, None if that is not known."""
        name = lib.pumit_classifier_class_name(self, c)
        return None if name is None else name.decode(errors="replace")

    def forward(self, image: Tensor, spacing: Spacing) -> Tensor:
        """Logits (N, classes) of images (N, D, H, W, C); of "grades" (N, classes - 1)."""
        return Tensor._take(made(lib.pumit_classifier_forward, self, image, doubles(spacing)))

    def loss(self, image: Tensor, spacing: Spacing, labels: Sequence[int]) -> Tensor:
        """Mean cross-entropy, a recorded scalar.

        `labels`: N class numbers; of "labels" N x classes of 0 and 1, row by row.
        """
        wanted = image.shape[0] * (self.classes if self.task == "labels" else 1)
        if len(labels) != wanted:
            raise InvalidArgumentError(f"{len(labels)} labels, {wanted} are wanted")
        call = lib.pumit_classifier_loss
        return Tensor._take(made(call, self, image, doubles(spacing), int64s(labels)))

    def predict(self, volume: Volume) -> Tensor:
        """Class probabilities (1, classes) of a volume of any size and spacing."""
        return Tensor._take(made(lib.pumit_classifier_predict, self, volume))
