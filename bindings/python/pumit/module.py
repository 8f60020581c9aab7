# SPDX-License-Identifier: Apache-2.0
"""What every network has in common: a kind, a configuration, parameters under published names."""

from __future__ import annotations

import ctypes
from typing import Any, Iterator, Mapping

from ._ffi import lib
from ._handle import Handle, Owned, Path, made, path_bytes
from .config import Config, Options, as_config
from .errors import NotFoundError, check
from .tensor import Tensor


class Parameters(Mapping[str, Tensor]):
    """A model's parameters by published name, "blocks.0.attn.q_proj.weight", in the file's order.

    In memory convolution weights are channels last: (O, kD, kH, kW, I).
    """

    def __init__(self, module: Owned) -> None:
        self._module = module

    def __getitem__(self, name: str) -> Tensor:
        try:
            pointer = made(lib.pumit_module_find, self._module.pointer, name.encode())
        except NotFoundError as failure:
            raise KeyError(name) from failure
        return Tensor._share(pointer)

    def __iter__(self) -> Iterator[str]:
        pointer = self._module.pointer
        for i in range(len(self)):
            yield lib.pumit_module_parameter_name(pointer, i).decode()

    def __len__(self) -> int:
        return lib.pumit_module_parameter_count(self._module.pointer)

    def at(self, i: int) -> Tensor:
        """Parameter number i."""
        pointer = lib.pumit_module_parameter(self._module.pointer, i)
        if pointer is None:
            raise IndexError(f"parameter {i} of {len(self)}")
        return Tensor._share(pointer)

    def __repr__(self) -> str:
        return f"<pumit.Parameters {len(self)} tensors>"


class Model(Handle):
    """Base of the networks."""

    _context: Owned

    def _adopt(self, owned: Owned, context: Owned) -> None:
        self._owned = owned
        self._context = context

    def _module_pointer(self) -> int:
        raise NotImplementedError

    @property
    def _module(self) -> Owned:
        """The module, which is a view of this model and keeps it alive."""
        return Owned(self._module_pointer(), lambda _pointer: None, self._alive)

    def parameters(self) -> Parameters:
        """All parameters, by name."""
        return Parameters(self._module)

    @property
    def kind(self) -> str:
        """What network it is: "vit", "tokenizer.simple", "sac_conv" and so on."""
        return lib.pumit_module_kind(self._module_pointer()).decode()

    @property
    def config(self) -> dict[str, Any]:
        """The configuration that the model was made with."""
        with Config._take(made(lib.pumit_module_config, self._module_pointer())) as config:
            return config.to_dict()

    @property
    def element_count(self) -> int:
        """Number of elements of all parameters."""
        return lib.pumit_module_element_count(self._module_pointer())

    def zero_grad(self) -> None:
        """Forgets all gathered gradients."""
        lib.pumit_module_zero_grad(self._module_pointer())

    def save(self, path: Path, provenance: Options = None) -> None:
        """Writes a safetensors file with the weights and the configuration, whole or not at all.

        `provenance` holds strings such as "data" and "licence".
        """
        config = as_config(provenance)
        check(lib.pumit_module_save(self._module_pointer(), path_bytes(path), config))

    def load_weights(self, path: Path, prefix: str = "", strict: bool = True) -> int:
        """Copies weights from a file: names that both have, under `prefix` in the file.

        Gives the number of tensors taken. With `strict` the file must have all of them.
        """
        out = ctypes.c_int64()
        call = lib.pumit_module_load_weights
        file, start = path_bytes(path), prefix.encode()
        check(call(self._module_pointer(), file, start, strict, ctypes.byref(out)))
        return out.value

    def import_weights(self, path: Path, options: Options = None) -> None:
        """Takes weights of others: safetensors, or a checkpoint of PyTorch (no code of it is run).

        What the model needs in another shape is adapted, and told through the context's log.
        Options: "prefix", "partial", "inflation". On failure the model is as it was.
        """
        config = as_config(options)
        check(lib.pumit_module_import(self._module_pointer(), path_bytes(path), config))

    def _describe(self) -> str:
        return f" {self.element_count} parameters"


def model_file_info(path: Path) -> dict[str, Any]:
    """A model file's metadata: {"pumit": {"model": kind, "config": {...}}}, and the provenance."""
    with Config._take(made(lib.pumit_model_file_info, path_bytes(path))) as config:
        return config.to_dict()


def model_file_digest(path: Path) -> dict[str, Any]:
    """What a model file holds in a few numbers: {"checksum": "crc32:..."}, and "codebook" of a tokenizer."""
    with Config._take(made(lib.pumit_model_file_digest, path_bytes(path))) as config:
        return config.to_dict()
