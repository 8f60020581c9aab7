#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""What pumit-bench measures, by PyTorch: the same networks at the same sizes on the same images, float32, one process a case.

    pip install torch
    pumit-bench --peer "python3 bench/peer/networks_peer.py" --peer "python3 bench/peer/networks_peer.py --compile"

runs all of them in turn and puts them into one table (`make bench-peer PYTHON=python3` is short for it). By itself it measures one case, and
prints what pumit-bench prints of one:

    python3 bench/peer/networks_peer.py --case mim-step-vit-b-da0 --threads 2 --seconds 1

The networks are written as a user of PyTorch would: functional, scaled_dot_product_attention, fused AdamW; images N x C x D x H x W.
"""

import argparse
import json
import logging
import math
import os
import statistics
import sys
import tempfile
import time

import torch
import torch.nn.functional as F

DIM, DEPTH, HEADS, HIDDEN, PATCH, POSITIONS, CODES = 768, 12, 12, 2048, 16, (5, 10, 10), 1024
CHANNELS, CODE_DIM, START = (128, 256, 512), 512, 4
SEGMENTER_PATCH, CLASSES, INNER, FULL, OUT_INDEXES = 8, 3, (128, 256, 512, 512), (64, 128), (3, 5, 7, 11)
MASK_RATIO = 0.55
CROPS = {  # degree of anisotropy, voxels, voxels of a segmenter
    "da0": (0, (80, 160, 160), (48, 64, 48)),
    "da2": (2, (20, 160, 160), (12, 64, 48)),
    "2d": (5, (1, 160, 160), (1, 160, 160)),
}


# ------------------------------------------------------------------------- spatially adaptive convolution
class Feature:
    """A map, the image's degree of anisotropy, in-plane halvings so far."""

    def __init__(self, x, da, down=0):
        self.x, self.da, self.down = x, da, down

    def map(self, function):
        return Feature(function(self.x), self.da, self.down)


def pool_depth(weight, depth):
    o, i, d, h, w = weight.shape
    return weight if d == depth else weight.reshape(o, i, depth, d // depth, h, w).sum(3)


def conv(f, w, name, stride=1, padding=0):
    weight, thick = w[name + ".weight"], max(f.da - f.down, 0)
    deep = max(stride >> thick, 1)
    depth_padding = padding
    if thick:
        weight, depth_padding = pool_depth(weight, deep), 0
    x = F.conv3d(f.x, weight, w.get(name + ".bias"), (deep, stride, stride), (depth_padding, padding, padding))
    return Feature(x, f.da, f.down + stride.bit_length() - 1)


def grow(f, w, name, stride=2):
    deep = min(1 << max(f.down - f.da, 0), stride)
    weight = pool_depth(w[name + ".weight"], deep)
    x = F.conv_transpose3d(f.x, weight, w[name + ".bias"], (deep, stride, stride))
    return Feature(x, f.da, f.down - (stride.bit_length() - 1))


class Weights(dict):
    """Random parameters by name."""

    def linear(self, name, inputs, outputs, bias=True):
        self[name + ".weight"] = torch.randn(outputs, inputs) * 0.02
        if bias:
            self[name + ".bias"] = torch.zeros(outputs)

    def norm(self, name, channels):
        self[name + ".weight"], self[name + ".bias"] = torch.ones(channels), torch.zeros(channels)

    def conv(self, name, inputs, outputs, kernel, bias=True, transposed=False):
        shape = (inputs, outputs) if transposed else (outputs, inputs)
        self[name + ".weight"] = torch.randn(*shape, kernel, kernel, kernel) / math.sqrt(inputs * kernel**3)
        if bias:
            self[name + ".bias"] = torch.zeros(outputs)

    def of(self, prefix):
        return Weights({k: v for k, v in self.items() if k.startswith(prefix)})

    def track(self):
        for value in self.values():
            value.requires_grad_()
        return self


# --------------------------------------------------------------------------------------------- tokenizer
def tokenizer_weights():
    w, top = Weights(), CHANNELS[-1]
    for level, channels in enumerate(CHANNELS):
        w.conv(f"down.{level}", CHANNELS[level - 1] if level else 3, channels, 2 if level else START)
        w.norm(f"down.{level}.norm", channels)
    for part, inputs, outputs in (("encode.0", top, top), ("encode.1", top, CODE_DIM), ("decode.0", CODE_DIM, top), ("decode.1", top, top)):
        w.conv(part, inputs, outputs, 3)
        w.norm(part + ".norm", outputs)
    w.linear("codes", CODE_DIM, CODES)
    w["codebook"] = torch.randn(CODES, CODE_DIM)
    for level in reversed(range(len(CHANNELS) - 1)):
        w.conv(f"up.{level}", CHANNELS[level + 1], CHANNELS[level], 2, transposed=True)
        w.conv(f"up.{level}.conv", CHANNELS[level], CHANNELS[level], 3)
        w.norm(f"up.{level}.conv.norm", CHANNELS[level])
    w.conv("last", CHANNELS[0], 3, START, transposed=True)
    return w


def channel_norm(x, w, name):
    x = x.movedim(1, -1)
    return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"]).movedim(-1, 1).contiguous()


def conv_norm(f, w, name):
    norm = lambda x: F.leaky_relu(F.group_norm(x, 8, w[name + ".norm.weight"], w[name + ".norm.bias"]), 0.01)
    return conv(f, w, name, padding=1).map(norm)


def encode(x, da, w):
    """Logits over the codes, N x d x h x w x codes, and the map that they belong to."""
    f = Feature(x, da)
    for level in range(len(CHANNELS)):
        f = conv(f, w, f"down.{level}", stride=2 if level else START)
        f = f.map(lambda x: F.gelu(channel_norm(x, w, f"down.{level}.norm")))
    f = conv_norm(conv_norm(f, w, "encode.0"), w, "encode.1")
    return F.linear(f.x.movedim(1, -1), w["codes.weight"], w["codes.bias"]), f


def decode(f, w):
    f = conv_norm(conv_norm(f, w, "decode.0"), w, "decode.1")
    for level in reversed(range(len(CHANNELS) - 1)):
        f = conv_norm(grow(f, w, f"up.{level}"), w, f"up.{level}.conv")
    return grow(f, w, "last", START).x


def tokenizer_loss(image, da, w):
    x = 2 * image - 1
    logits, f = encode(x, da, w)
    p = logits.softmax(-1)
    mean = p.reshape(-1, CODES).mean(0)
    entropy = -(p * logits.log_softmax(-1)).sum(-1).mean()
    image = decode(Feature((p @ w["codebook"]).movedim(-1, 1).contiguous(), f.da, f.down), w)
    return (x - image).abs().mean() + (mean * mean.log()).sum() + 0.2 * entropy


# ------------------------------------------------------------------------------------------- transformer
def vit_weights(patch=PATCH, head=True):
    w = Weights()
    w.conv("patch", 3, DIM, patch)
    w["class"], w["position"] = torch.randn(1, 1, DIM) * 0.02, torch.randn(1, DIM, *POSITIONS) * 0.02
    for i in range(DEPTH):
        b = f"blocks.{i}."
        w.norm(b + "norm1", DIM)
        w.norm(b + "norm2", DIM)
        w.norm(b + "norm3", HIDDEN)
        for name in "qkv":
            w.linear(b + name, DIM, DIM, bias=name != "k")
        w.linear(b + "proj", DIM, DIM)
        w.linear(b + "w1", DIM, HIDDEN)
        w.linear(b + "w2", DIM, HIDDEN)
        w.linear(b + "w3", HIDDEN, DIM)
    w.norm("norm", DIM)
    if head:
        w["mask"] = torch.randn(1, 1, DIM) * 0.02
        w.linear("head0", DIM, DIM)
        w.linear("head2", DIM, CODES)
    return w


def angles_of(grid):
    half = DIM // HEADS // 2
    even, odd = torch.arange(0, half, 2), torch.arange(1, half, 2)
    omega = [2333.0 ** (-(odd / half)).repeat(2), 10000.0 ** -(even / half), 10000.0 ** -(even / half)]
    d, h, w = [torch.outer(torch.arange(s).float(), o) for s, o in zip(grid, omega)]
    hw = torch.cat([h[:, None].expand(-1, grid[2], -1), w[None].expand(grid[1], -1, -1)], -1)
    angles = (d[:, None, None] + hw[None]).reshape(-1, half)
    return angles.cos()[:, None], angles.sin()[:, None]


def rotate(x, angles):
    """N x L x heads x head_dim; the class token is not turned."""
    c, s = angles
    a, b = x[:, 1:, :, 0::2], x[:, 1:, :, 1::2]
    return torch.cat([x[:, :1], torch.stack([a * c - b * s, b * c + a * s], -1).flatten(-2)], 1).transpose(1, 2)


def linear(x, w, name):
    return F.linear(x, w[name + ".weight"], w.get(name + ".bias"))


def layer_norm(x, w, name):
    return F.layer_norm(x, x.shape[-1:], w[name + ".weight"], w[name + ".bias"])


def block(x, w, b, angles):
    n, length, _ = x.shape
    split = lambda t: t.reshape(n, length, HEADS, DIM // HEADS)
    h = layer_norm(x, w, b + "norm1")
    q, k = [rotate(split(linear(h, w, b + name)), angles) for name in "qk"]
    v = split(linear(h, w, b + "v")).transpose(1, 2)
    mixed = F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(n, length, DIM)
    x = x + linear(mixed, w, b + "proj")
    h = layer_norm(x, w, b + "norm2")
    h = layer_norm(F.silu(linear(h, w, b + "w1")) * linear(h, w, b + "w2"), w, b + "norm3")
    return x + linear(h, w, b + "w3")


def normalize(x):
    mean, deviation = [x.new_tensor(v).view(1, 3, 1, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
    return (x - mean) / deviation


def resample_to(x, grid):
    small = tuple(min(a, b) for a, b in zip(x.shape[2:], grid))
    x = F.interpolate(x, small, mode="area") if small != tuple(x.shape[2:]) else x
    return F.interpolate(x, grid, mode="trilinear") if grid != small else x


def patch_tokens(x, da, w, patch=PATCH):
    f = conv(Feature(x, da), w, "patch", stride=patch)
    grid = tuple(f.x.shape[2:])
    return (f.x + resample_to(w["position"], grid)).flatten(2).transpose(1, 2), grid


def vit_states(x, da, w, angles, patch=PATCH):
    t, grid = patch_tokens(x, da, w, patch)
    t, states = torch.cat([w["class"].expand(t.shape[0], -1, -1), t], 1), []
    for i in range(DEPTH):
        t = block(t, w, f"blocks.{i}.", angles)
        states.append(t)
    return states, grid


def vit_forward(image, da, w, angles):
    return layer_norm(vit_states(normalize(image), da, w, angles)[0][-1], w, "norm")


def mim_loss(image, da, w, tokenizer, visible, masked, angles):
    with torch.no_grad():
        target = encode(2 * image - 1, da, tokenizer)[0].flatten(1, 3)
    t, _ = patch_tokens(normalize(image), da, w)
    rows = lambda index, width: index[..., None].expand(-1, -1, width)
    x = w["mask"].expand(t.shape[0], t.shape[1], -1).scatter(1, rows(visible, DIM), t.gather(1, rows(visible, DIM)))
    x = torch.cat([w["class"].expand(t.shape[0], -1, -1), x], 1)
    for i in range(DEPTH):
        x = block(x, w, f"blocks.{i}.", angles)
    x = layer_norm(x, w, "norm")[:, 1:].gather(1, rows(masked, DIM))
    logits = linear(F.gelu(linear(x, w, "head0")), w, "head2")
    return -(target.gather(1, rows(masked, CODES)).softmax(-1) * logits.log_softmax(-1)).sum(-1).mean()


# --------------------------------------------------------------------------------------------- segmenter
STAGES = SEGMENTER_PATCH.bit_length() - 3
FEATURES = FULL[:STAGES] + INNER


def segmenter_weights():
    w = vit_weights(SEGMENTER_PATCH, head=False)
    for name in ("fpn0", "fpn1", "fpn2"):
        w.conv(name, DIM, DIM, 2, transposed=True)
    for name in ("maps.0", "maps.1", "maps.2", "maps.3", "fpn0"):
        w.norm(name + ".norm", DIM)
    unit = lambda name, i, o, k: (w.conv(name, i, o, k, bias=False), w.norm(name + ".norm", o))
    for i, channels in enumerate(INNER):
        unit(f"lateral.{i}", DIM, channels, 1)
    for i in range(STAGES):
        unit(f"in.{i}.0", FULL[i - 1] if i else 3, FULL[i], 3)
        unit(f"in.{i}.1", FULL[i], FULL[i], 3)
    for i in range(STAGES + 3):
        w.conv(f"merge.{i}", FEATURES[i + 1], FEATURES[i], 2, transposed=True)
        unit(f"merge.{i}.0", 2 * FEATURES[i], FEATURES[i], 3)
        unit(f"merge.{i}.1", FEATURES[i], FEATURES[i], 3)
    for i in range(4):
        w.conv(f"heads.{i}", FEATURES[i], CLASSES, 1)
    return w


def instance_norm(x, w, name):
    return F.instance_norm(x, weight=w[name + ".norm.weight"], bias=w[name + ".norm.bias"])


def unit(f, w, name, stride=1, padding=1):
    return conv(f, w, name, stride, padding).map(lambda x: F.leaky_relu(instance_norm(x, w, name), 0.01))


def pyramid(states, grid, da, w):
    maps, down = [], SEGMENTER_PATCH.bit_length() - 1
    for k, i in enumerate(OUT_INDEXES):
        x = states[i][:, 1:].transpose(1, 2).reshape(-1, DIM, *grid)
        f = Feature(instance_norm(x, w, f"maps.{k}"), da, down)
        if k == 0:
            f = grow(grow(f, w, "fpn0").map(lambda x: F.gelu(instance_norm(x, w, "fpn0"))), w, "fpn2")
        elif k == 1:
            f = grow(f, w, "fpn1")
        elif k == 3:
            size = (2 if f.down >= da else 1, 2, 2)
            f = Feature(F.max_pool3d(f.x, size, size), da, down + 1)
        maps.append(unit(f, w, f"lateral.{k}", padding=0))
    return maps


def segmenter_features(image, da, w, angles):
    maps = pyramid(*vit_states(image, da, w, angles, SEGMENTER_PATCH), da, w)
    f, finer = Feature(image, da), []
    for i in range(STAGES):
        f = unit(unit(f, w, f"in.{i}.0", stride=2 if i else 1), w, f"in.{i}.1")
        finer.append(f)
    finer, f, features = finer + maps[:-1], maps[-1], []
    for i in reversed(range(STAGES + 3)):
        f = grow(f, w, f"merge.{i}").map(lambda x: torch.cat([x, finer[i].x], 1))
        f = unit(unit(f, w, f"merge.{i}.0"), w, f"merge.{i}.1")
        features.insert(0, f)
    return features


def segment(image, da, w, angles):
    return conv(segmenter_features(image, da, w, angles)[0], w, "heads.0").x


def dice_ce(logits, label):
    p = logits.softmax(1)
    one_hot = F.one_hot(label, CLASSES).movedim(-1, 1).to(p.dtype)
    both, total = (p * one_hot).sum((2, 3, 4)), (p.sum((2, 3, 4)) + one_hot.sum((2, 3, 4)))
    return (1 - (2 * both + 1e-5) / (total + 1e-5)).mean() + F.cross_entropy(logits, label)


def segmenter_loss(image, label, da, w, angles):
    features, loss = segmenter_features(image, da, w, angles), 0
    for i in range(4):
        logits = conv(features[i], w, f"heads.{i}").x
        logits = F.interpolate(logits, label.shape[1:], mode="trilinear") if i else logits
        loss = loss + dice_ce(logits, label) * 0.5**i / (2 - 0.5**3)
    return loss


# ------------------------------------------------------------------------------------------------- cases
def grid_of(da, size, patch=PATCH):
    return size[0] // max(patch >> da, 1), size[1] // patch, size[2] // patch


def inference(function, *arguments):
    def call():
        with torch.no_grad():
            function(*arguments)

    return call


def step(function, weights, *arguments):
    weights.track()

    def call():
        function(*arguments).backward()
        for value in weights.values():
            value.grad = None

    return call


def optimizer_step():
    weights = list(vit_weights().track().values())
    for value in weights:
        value.grad = torch.randn_like(value) * 1e-3
    optimizer = torch.optim.AdamW(weights, lr=1e-3, weight_decay=0.05, fused=True)

    def call():
        torch.nn.utils.clip_grad_norm_(weights, 3.0)
        optimizer.step()

    return call


def model_file():
    """Of the transformer, in the system's cache."""
    path = os.path.join(tempfile.mkdtemp(prefix="pumit-bench-"), "vit.pt")
    pid = os.fork()  # so that this process has not made the weights itself
    if pid == 0:
        torch.save(dict(vit_weights()), path)
        os._exit(0)
    if os.waitpid(pid, 0)[1] != 0:
        sys.exit("cannot write a model file")
    return path


def load(path):
    weights = Weights(torch.load(path, mmap=True))
    os.remove(path)  # they stay mapped
    os.rmdir(os.path.dirname(path))
    return weights


def embed(image, da, w, angles):
    return vit_forward(image, da, w, angles)[:, 1:].mean(1)


def make_call(kind, da, size, segmented, batch, wrap):
    """The call to be timed, and whether a process can do it but once."""
    if kind in ("load-vit-b", "embed-first", "embed"):
        path = model_file()
        if kind == "load-vit-b":
            return (lambda: load(path)), True
        image, angles = torch.rand(1, 3, *size), angles_of(grid_of(da, size))
        if kind == "embed":
            return inference(wrap(embed), image, da, load(path), angles), False
        return (lambda: inference(wrap(embed), image, da, load(path), angles)()), True
    if kind == "optimizer-step-vit-b":
        return optimizer_step(), False
    segmenting = kind.startswith("segment")
    image = torch.rand(batch, 3, *(segmented if segmenting else size))
    angles = angles_of(grid_of(da, segmented, SEGMENTER_PATCH) if segmenting else grid_of(da, size))
    if kind == "tokenize":
        return inference(wrap(lambda x, w: encode(2 * x - 1, da, w)[0].softmax(-1)), image, tokenizer_weights()), False
    if kind == "vit-b-forward":
        return inference(wrap(vit_forward), image, da, vit_weights(), angles), False
    if kind == "segment-window":
        return inference(wrap(segment), image, da, segmenter_weights(), angles), False
    if kind == "tokenizer-step":
        w = tokenizer_weights()
        return step(wrap(tokenizer_loss), w, image, da, w), False
    if kind == "mim-step-vit-b":
        w, length = vit_weights(), math.prod(grid_of(da, size))
        order = torch.stack([torch.randperm(length) for _ in range(batch)])
        shown = int((1 - MASK_RATIO) * length + 1e-9)
        visible, masked = order[:, :shown].sort().values, order[:, shown:].sort().values
        return step(wrap(mim_loss), w, image, da, w, tokenizer_weights(), visible, masked, angles), False
    if kind == "segment-step":
        w = segmenter_weights()
        label = torch.arange(batch * math.prod(segmented)).reshape(batch, *segmented) * CLASSES // (batch * math.prod(segmented))
        return step(wrap(segmenter_loss), w, image, label, da, w, angles), False
    return None, False


def parse_case(name):
    batch = 2 if name.startswith("segment-step") else 1
    if name.endswith("-batch4"):
        name, batch = name[: -len("-batch4")], 4
    for crop, values in CROPS.items():
        if name.endswith("-" + crop):
            return name[: -len(crop) - 1], *values, batch
    return name, 0, None, None, batch


# --------------------------------------------------------------------------------------------- measuring
def peak_mib():
    with open("/proc/self/status") as lines:
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def forget_peak():
    try:
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")
    except OSError:
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--case", required=True)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--compile", action="store_true", help="by torch.compile()")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)  # that there is no GPU
    kind, da, size, segmented, batch = parse_case(options.case)
    wrap = torch.compile if options.compile else lambda function: function
    if options.compile and kind in ("load-vit-b", "optimizer-step-vit-b", "embed-first"):
        return  # nothing that it would change but the time to compile
    call, once = make_call(kind, da, size, segmented, batch, wrap)
    if not call:
        return
    forget_peak()
    if not once:
        call()
    if options.compile:
        forget_peak()  # of the compiler
    seconds = []
    while not seconds or (not once and sum(seconds) < options.seconds and len(seconds) < 100):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    by = f"torch {torch.__version__.split('+')[0]}{' compiled' if options.compile else ''}"
    row = {"case": options.case, "by": by, "threads": options.threads, "batch": batch,
           "seconds": statistics.median(seconds), "best": min(seconds), "peak_mib": peak_mib()}
    print(json.dumps(row))


if __name__ == "__main__":
    main()
