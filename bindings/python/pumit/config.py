# SPDX-License-Identifier: Apache-2.0
"""Options by key. Wherever the library takes a config, a dict does as well."""

from __future__ import annotations

import ctypes
import json
from typing import Any, Mapping, Optional, Union

from ._ffi import lib
from ._handle import Handle, Owned, Path, made, made_text, path_bytes
from .errors import check


class Config(Handle):
    """Options by key; a key is a path of names joined by dots, "vit.dim".

    >>> config = Config({"vit": {"dim": 768}})
    >>> config["vit.depth"] = 12
    >>> config.to_dict()
    {'vit': {'dim': 768, 'depth': 12}}
    """

    def __init__(self, values: Optional[Mapping[str, Any]] = None) -> None:
        if values is None:
            pointer = made(lib.pumit_config_create)
        else:
            pointer = made(lib.pumit_config_parse, json.dumps(dict(values)).encode())
        self._owned = Owned(pointer, lib.pumit_config_release)

    @classmethod
    def _take(cls, pointer: int) -> Config:
        self = cls.__new__(cls)
        self._owned = Owned(pointer, lib.pumit_config_release)
        return self

    @classmethod
    def parse(cls, text: str) -> Config:
        """A config from JSON text, whose top level must be an object."""
        return cls._take(made(lib.pumit_config_parse, text.encode()))

    @classmethod
    def read(cls, path: Path) -> Config:
        """A config from a JSON file."""
        return cls._take(made(lib.pumit_config_read, path_bytes(path)))

    def __setitem__(self, key: str, value: Any) -> None:
        """Sets one value, replacing what was there: anything that JSON can say."""
        name = key.encode()
        if isinstance(value, bool):
            check(lib.pumit_config_set_bool(self, name, value))
        elif isinstance(value, int):
            check(lib.pumit_config_set_int(self, name, value))
        elif isinstance(value, float):
            check(lib.pumit_config_set_double(self, name, value))
        elif isinstance(value, str):
            check(lib.pumit_config_set_string(self, name, value.encode()))
        else:
            check(lib.pumit_config_set_json(self, name, json.dumps(value).encode()))

    def set_json(self, key: str, text: str) -> None:
        """Sets a value given as JSON text; text that is no JSON becomes a string."""
        check(lib.pumit_config_set_json(self, key.encode(), text.encode()))

    def get_int(self, key: str, fallback: int = 0) -> int:
        """The whole number at `key`, or `fallback` if there is none."""
        out = ctypes.c_int64()
        check(lib.pumit_config_get_int(ctypes.byref(out), self, key.encode(), fallback))
        return out.value

    def get_float(self, key: str, fallback: float = 0.0) -> float:
        """The number at `key`, or `fallback` if there is none."""
        out = ctypes.c_double()
        check(lib.pumit_config_get_double(ctypes.byref(out), self, key.encode(), fallback))
        return out.value

    def get_bool(self, key: str, fallback: bool = False) -> bool:
        """The truth value at `key`, or `fallback` if there is none."""
        out = ctypes.c_int32()
        check(lib.pumit_config_get_bool(ctypes.byref(out), self, key.encode(), fallback))
        return out.value != 0

    def get_str(self, key: str, fallback: str = "") -> str:
        """The string at `key`, or `fallback` if there is none."""
        out = ctypes.c_char_p()
        call = lib.pumit_config_get_string
        check(call(ctypes.byref(out), self, key.encode(), fallback.encode()))
        assert out.value is not None
        return out.value.decode()

    def get_ints(self, key: str, most: int = 64) -> list[int]:
        """The array of at most `most` whole numbers at `key`; empty if there is none."""
        values, count = (ctypes.c_int64 * most)(), ctypes.c_int32()
        call = lib.pumit_config_get_ints
        check(call(values, most, ctypes.byref(count), self, key.encode()))
        return list(values[: count.value])

    def section(self, key: str) -> Config:
        """A copy of the object at `key`, empty if there is none."""
        return Config._take(made(lib.pumit_config_get_section, self, key.encode()))

    def merge(self, over: Union[Config, Mapping[str, Any]]) -> None:
        """Every value of `over` replaces or joins those here, object by object."""
        check(lib.pumit_config_merge(self, as_config(over)))

    def to_json(self) -> str:
        """The config as indented JSON text."""
        return made_text(lib.pumit_config_to_json, self)

    def to_dict(self) -> dict[str, Any]:
        """The config as a dict of its own."""
        return json.loads(self.to_json())

    def _describe(self) -> str:
        return f" {json.dumps(self.to_dict())}"


Options = Union[Config, Mapping[str, Any], None]


def as_config(options: Options) -> Optional[Config]:
    """A config from whatever a caller may pass for one."""
    return options if options is None or isinstance(options, Config) else Config(options)
