# SPDX-License-Identifier: Apache-2.0
"""Datasets: lists of images, with labels where there are any."""

from __future__ import annotations

import ctypes
import json
from typing import Any, Iterator, Optional, Sequence, Union

from ._ffi import lib
from ._handle import Handle, Owned, Path, made, made_text, path_bytes
from .config import Options, as_config
from .context import Context
from .label_map import LabelMap
from .volume import Volume


class Dataset(Handle):
    """Images from files, folders, lists (.txt, .csv) and MedMNIST-style .npz, decoded into memory.

    Options: "split" ("train", "val", "test"), "folders_are_labels", "class_names", "label_maps",
    "limits.bytes". A dataset is a
    sequence of volumes. What cannot be read is skipped, counted, and reported to the context's log.
    """

    def __init__(
        self, context: Context, paths: Union[Path, Sequence[Path]], options: Options = None
    ) -> None:
        count, array = _strings(paths)
        config = as_config(options)
        pointer = made(lib.pumit_dataset_open, context, count, array, config)
        self._owned = Owned(pointer, lib.pumit_dataset_release)
        self._context = context._alive

    @staticmethod
    def files(paths: Union[Path, Sequence[Path]], options: Options = None) -> list[dict[str, str]]:
        """The files that would be read: a list of {"path"}, with "label_map" or "reason" beside.

        Nothing is decoded. "reason" tells why a file cannot be read. Options: "split", "label_maps".
        """
        count, array = _strings(paths)
        return json.loads(made_text(lib.pumit_dataset_files, count, array, as_config(options)))

    def subset(self, options: Options = None) -> Dataset:
        """Part of the images. Options: "folds", "fold", "held_out", "labels" (a share), "seed"."""
        part = type(self).__new__(type(self))
        pointer = made(lib.pumit_dataset_subset, self, as_config(options))
        part._owned = Owned(pointer, lib.pumit_dataset_release)
        part._context = self._context
        return part

    def __len__(self) -> int:
        return lib.pumit_dataset_count(self)

    def __getitem__(self, i: int) -> Volume:
        pointer = lib.pumit_dataset_volume(self, self._index(i))
        return Volume._borrow(pointer, self._alive, self._context)

    def __iter__(self) -> Iterator[Volume]:
        return (self[i] for i in range(len(self)))

    def _index(self, i: int) -> int:
        count = len(self)
        if not -count <= i < count:
            raise IndexError(f"image {i} of {count}")
        return i % count

    def name(self, i: int) -> str:
        """Where image i came from: "file.nii.gz", "file.npz[train 17]"."""
        return lib.pumit_dataset_name(self, self._index(i)).decode(errors="replace")

    def label(self, i: int) -> Optional[int]:
        """Label of image i, None if it has none or may have several."""
        label = lib.pumit_dataset_label(self, self._index(i))
        return None if label < 0 else label

    def label_map(self, i: int) -> Optional[LabelMap]:
        """Label map of image i, None if it has none."""
        pointer = lib.pumit_dataset_label_map(self, self._index(i))
        return LabelMap._borrow(pointer, self._alive) if pointer else None

    @property
    def multilabel(self) -> bool:
        """True if an image may have several labels at once."""
        return bool(lib.pumit_dataset_multilabel(self))

    def has_label(self, i: int, label: int) -> Optional[bool]:
        """True if image i has this label, or is of this class; None if that is not told."""
        has = lib.pumit_dataset_has_label(self, self._index(i), label)
        return None if has < 0 else bool(has)

    def class_name(self, label: int) -> Optional[str]:
        """What a class is called, None if that is not known."""
        name = lib.pumit_dataset_class_name(self, label)
        return None if name is None else name.decode(errors="replace")

    @property
    def skipped(self) -> int:
        """Number of files that could not be read."""
        return lib.pumit_dataset_skipped(self)

    @property
    def classes(self) -> int:
        """Number of classes; 0 if an image has no label."""
        return lib.pumit_dataset_classes(self)

    def _describe(self) -> str:
        return f" {len(self)} images, {self.classes} classes"


def _strings(paths: Union[Path, Sequence[Path]]) -> tuple[int, Any]:
    names: Sequence[Any] = list(paths) if isinstance(paths, (list, tuple)) else [paths]
    return len(names), (ctypes.c_char_p * len(names))(*(path_bytes(name) for name in names))
