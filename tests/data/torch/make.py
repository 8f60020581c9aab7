#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Writes the checkpoints of this folder with PyTorch:  python3 make.py OUT_DIR"""

import argparse
import collections
import datetime
import enum
import functools
import math
import pathlib
import sys
import types
import zipfile

import numpy
import torch
import torch.nn.functional as F

OUT = pathlib.Path(sys.argv[1])


def ramp(*shape, dtype=torch.float32, start=0):
    """start, start + 1, ... by 4: exact in every type."""
    count = math.prod(shape)
    return ((torch.arange(count) + start).double() / 4).to(dtype).reshape(shape)


def plain():
    """Every type, views of every sort."""
    base = ramp(6, 8)
    state = collections.OrderedDict()
    state["f32"] = ramp(2, 3)
    state["f16"] = ramp(2, 3, dtype=torch.float16)
    state["bf16"] = ramp(2, 3, dtype=torch.bfloat16)
    state["f64"] = ramp(2, 3, dtype=torch.float64)
    state["i64"] = torch.arange(6).reshape(2, 3)
    state["i32"] = torch.arange(6, dtype=torch.int32).reshape(2, 3)
    state["i16"] = torch.arange(6, dtype=torch.int16).reshape(2, 3)
    state["u8"] = torch.arange(6, dtype=torch.uint8).reshape(2, 3)
    state["scalar"] = torch.tensor(2.5)
    state["empty"] = torch.zeros(0, 3)
    state["rows"] = base[2:4, :3]  # offset 16, strides 8 and 1
    state["columns"] = base.t()[1:3, ::2]  # offset 1, strides 1 and 16
    state["whole"] = base
    state["expanded"] = base[0, :3].expand(2, 3)
    state["parameter"] = torch.nn.Parameter(ramp(2, 3))
    state["complex"] = torch.zeros(2, dtype=torch.complex64)
    state["truth"] = torch.ones(2, dtype=torch.bool)
    return state


def experiment():
    """A module of someone's own, whose classes are not there when the file is read."""
    module = types.ModuleType("experiment")
    sys.modules["experiment"] = module

    class Callback:
        def __init__(self):
            self.values = [1, 2.5, "three"]
            self.itself = self

    class Stage(enum.Enum):
        FIT = "fit"

    class Table(dict):
        pass

    for each in (Callback, Stage, Table):
        each.__module__, each.__qualname__ = "experiment", each.__name__
        setattr(module, each.__name__, each)
    return module


def lightning():
    """What training frameworks put around a state dict."""
    own = experiment()
    state = collections.OrderedDict((f"model.{k}", v) for k, v in (("weight", ramp(2, 3)), ("bias", ramp(2))))
    state._metadata = collections.OrderedDict({"": {"version": 1}})
    linear = torch.nn.Linear(3, 2)
    with torch.no_grad():
        linear.weight.copy_(ramp(2, 3))
        linear.bias.copy_(ramp(2))
    optimizer = torch.optim.AdamW(linear.parameters())
    linear(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "global_step": 2**40,
        "pytorch-lightning_version": "2.0.0",
        "state_dict": state,
        "loops": {"fit_loop": {"state_dict": {}, "epoch_progress": {"total": {"ready": 4}}}},
        "callbacks": {own.Callback: own.Callback(), "other": [own.Callback(), own.Stage.FIT]},
        "optimizer_states": [optimizer.state_dict()],
        "hyper_parameters": argparse.Namespace(
            path=pathlib.PurePosixPath("/data"), when=datetime.datetime(2023, 12, 13), codes={1, 2},
            frozen=frozenset([3]), array=numpy.arange(4.0), scalar=numpy.float64(2), big=2**200,
            raw=b"\x00\xff", complex=1 + 2j, activation=F.gelu, part=functools.partial(F.gelu, approximate="none"),
            table=own.Table(a=1), queue=collections.deque([1]), counts=collections.Counter("aab"), none=None,
            flags=(True, False), size=torch.Size([1, 2]), device=torch.device("cpu"), dtype=torch.float16, slice=slice(1, 2)),
    }


def adaptations():
    """Arrays `in` and what PyTorch makes of them, `out`."""
    torch.manual_seed(3)
    d = {}

    def case(name, x, y):
        d[name + ".in"], d[name + ".out"] = x, y.contiguous()

    x = torch.randn(4, 3, 3, 3)
    case("average", x, (x / 3)[:, :, None].expand(-1, -1, 3, -1, -1))
    center = torch.zeros(4, 3, 3, 3, 3)
    center[:, :, 1] = x
    case("center3", x, center)
    center = torch.zeros(4, 3, 4, 3, 3)
    center[:, :, 1] = center[:, :, 2] = x / 2
    case("center4", x, center)
    case("channels", x, (x.sum(1, keepdim=True) / 2 / 3)[:, :, None].expand(-1, 2, 3, -1, -1))
    x = torch.randn(4, 3, 3, 3, 3)
    case("channels3d", x, x.sum(1, keepdim=True))
    x = torch.randn(2, 1, 3, 2, 2)
    case("repeat", x, (x / 3).expand(-1, 3, -1, -1, -1))
    gray = torch.tensor([0.299, 0.587, 0.114])
    x = torch.randn(3, 4, 3, 3, 3)
    case("gray", x, torch.einsum("o,oidhw->idhw", gray, x)[None])
    x = torch.randn(3)
    case("gray_bias", x, (gray * x).sum().reshape(1))
    x = torch.randn(4, 3, 2, 2, 2)
    case("gray_transposed", x, torch.einsum("o,iodhw->idhw", gray, x)[:, None])
    x = torch.randn(2, 3, 16, 4, 4)
    case("pool", x, x.reshape(2, 3, 4, 4, 4, 4).sum(3))
    x = torch.randn(1, 2, 14, 14)
    grown = F.interpolate(x, (16, 16), mode="bicubic", align_corners=False)
    case("patch", x, (grown / 2)[:, :, None].expand(-1, -1, 2, -1, -1))
    shrunk = F.interpolate(x, (8, 8), mode="bicubic", align_corners=False)
    case("patch_smaller", x, (shrunk.sum(1, keepdim=True) / 8)[:, :, None].expand(-1, 1, 8, -1, -1))
    x = torch.randn(1, 3, 4, 5, 6)
    mixed = F.interpolate(F.interpolate(x, (3, 2, 6), mode="area"), (3, 2, 9), mode="trilinear", align_corners=False)
    case("grid", x, mixed)
    x = torch.randn(1, 17, 3)
    plane = x[:, 1:].reshape(1, 4, 4, 3).permute(0, 3, 1, 2)[:, :, None].expand(-1, -1, 2, -1, -1)
    case("sequence_smaller", x, F.interpolate(plane, (2, 3, 3), mode="area"))
    case("sequence", x, F.interpolate(plane, (2, 6, 5), mode="trilinear", align_corners=False))
    return d


def eva():
    """A small transformer shaped as EVA-02, and what a 2D image's tokens are in it and in a 3D one of patch 4."""
    torch.manual_seed(4)
    dim, hidden = 8, 12
    p = {
        "cls_token": torch.randn(1, 1, dim),
        "pos_embed": torch.randn(1, 17, dim),
        "patch_embed.proj.weight": torch.randn(dim, 3, 3, 3),
        "patch_embed.proj.bias": torch.randn(dim),
        "rope.freqs_cos": torch.ones(16, 4),
        "rope.freqs_sin": torch.zeros(16, 4),
        "norm.weight": torch.randn(dim),
        "norm.bias": torch.randn(dim),
        "head.weight": torch.randn(5, dim),
        "head.bias": torch.randn(5),
    }
    q = "blocks.0."
    for name, size in (("norm1", dim), ("norm2", dim), ("mlp.ffn_ln", hidden)):
        p[q + name + ".weight"], p[q + name + ".bias"] = torch.randn(size), torch.randn(size)
    for name in ("q_proj", "k_proj", "v_proj", "proj"):
        p[q + f"attn.{name}.weight"] = torch.randn(dim, dim)
    for name in ("q_bias", "v_bias", "proj.bias"):
        p[q + f"attn.{name}"] = torch.randn(dim)
    for name, o, i in (("w1", hidden, dim), ("w2", hidden, dim), ("w3", dim, hidden)):
        p[q + f"mlp.{name}.weight"], p[q + f"mlp.{name}.bias"] = torch.randn(o, i), torch.randn(o)
    image = torch.randn(1, 3, 12, 20)
    kernel = F.interpolate(p["patch_embed.proj.weight"], (4, 4), mode="bicubic", align_corners=False)
    positions = p["pos_embed"][:, 1:].reshape(1, 4, 4, dim).permute(0, 3, 1, 2)
    position = F.interpolate(positions, (3, 3), mode="area")  # the model's grid is 2 x 3 x 3
    position = F.interpolate(position, (3, 5), mode="bilinear", align_corners=False)
    tokens = F.conv2d(image, kernel, p["patch_embed.proj.bias"], stride=4) + position
    expected = {"image": image[:, :, None], "tokens": tokens.flatten(2).transpose(1, 2).contiguous(),
                "cls_token": p["cls_token"] + p["pos_embed"][:, :1]}
    return p, expected


def compress(source, target):
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for item in old.infolist():
            new.writestr(zipfile.ZipInfo(item.filename, (1980, 1, 1, 0, 0, 0)), old.read(item), zipfile.ZIP_DEFLATED)


def main():
    torch.save(plain(), OUT / "plain.pt")
    torch.save(lightning(), OUT / "lightning.ckpt")
    for protocol in (3, 4, 5):
        torch.save(lightning(), OUT / f"protocol{protocol}.ckpt", pickle_protocol=protocol)
    small = {"weight": ramp(2, 3)}
    torch.save({"model": {"state_dict": small}, "epoch": 1}, OUT / "model.pt")
    torch.save({"module": small}, OUT / "module.pt")
    torch.save(torch.nn.Linear(3, 2), OUT / "pickled_module.pt")
    torch.save([ramp(2)], OUT / "list.pt")
    torch.save(small, OUT / "legacy.pt", _use_new_zipfile_serialization=False)
    compress(OUT / "plain.pt", OUT / "compressed.pt")
    torch.save(adaptations(), OUT / "adaptations.pt")
    weights, expected = eva()
    torch.save({"model": weights}, OUT / "eva.pt")
    torch.save(expected, OUT / "eva_expected.pt")


main()
