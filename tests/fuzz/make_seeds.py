#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""Small files to begin with, cut from the images of the demo: python3 tests/fuzz/make_seeds.py BUILD, in the repository's root.

Needs python3-numpy, python3-nibabel, python3-pil, and a build. What lies in tests/fuzz/corpus stays; of its names, those made here are replaced.
"""

import gzip
import io
import json
import struct
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path

import nibabel
import numpy
from PIL import Image

DATA = Path("examples/demo/data")
CORPUS = Path("tests/fuzz/corpus")


def put(target, name, data):
    (CORPUS / target).mkdir(parents=True, exist_ok=True)
    (CORPUS / target / name).write_bytes(data)


# --------------------------------------------------------------------------------------------- volumes


def crop(path, size):
    image = nibabel.load(path)
    start = [(n - s) // 2 for n, s in zip(image.shape, size)]
    return image.slicer[tuple(slice(a, a + s) for a, s in zip(start, size))]


def nifti_bytes(voxels, affine, dtype, kind=nibabel.Nifti1Image, change=None):
    image = kind(voxels.astype(dtype), affine)
    image.set_data_dtype(dtype)
    if change:
        change(image)
    return image.to_bytes()


def big_endian(data):
    """The same file in the other byte order, for 2-byte voxels."""
    header = nibabel.Nifti1Header(data[:348]).as_byteswapped(">")
    return header.binaryblock + data[348:352] + numpy.frombuffer(data[352:], "<i2").byteswap().tobytes()


def scaled(image):
    image.header["scl_slope"], image.header["scl_inter"] = 0.5, -3


def qform_only(image):
    image.set_qform(image.affine, 1)
    image.set_sform(None, 0)


def pair(data):
    """As the header and the voxels of a .hdr and .img, one behind the other."""
    data = bytearray(data[:348] + data[352:])
    data[344:348] = b"ni1\0"
    data[108:112] = bytes(4)
    return bytes(data)


def make_volumes():
    head = crop(DATA / "hippocampus/hippocampus_003.nii.gz", (6, 7, 5))
    spine = crop(DATA / "spine/t2s.nii.gz", (8, 8, 3))
    ct = crop(DATA / "ct/abdomen_ct.nii.gz", (5, 5, 4))
    h, s, c = (numpy.asarray(i.dataobj) for i in (head, spine, ct))
    labels = (h > numpy.median(h)).astype("u1")
    plain = nifti_bytes(c, ct.affine, "i2")
    put("nifti", "ct.nii", plain)
    put("nifti", "big_endian.nii", big_endian(plain))
    put("nifti", "pair", pair(plain))
    put("nifti", "head.nii.gz", gzip.compress(nifti_bytes(h, head.affine, "f4"), mtime=0))
    put("nifti", "scaled.nii", nifti_bytes(h, head.affine, "u1", change=scaled))
    put("nifti", "version2.nii", nifti_bytes(s, spine.affine, "u2", nibabel.Nifti2Image))
    put("nifti", "qform.nii", nifti_bytes(s, spine.affine, "f8", change=qform_only))
    put("nifti", "labels.nii.gz", gzip.compress(nifti_bytes(labels, head.affine, "u1"), mtime=0))
    put("nifti", "series.nii", nifti_bytes(numpy.stack([h, h + 1, h], 3), head.affine, "i4"))
    rgb = numpy.zeros((4, 4, 2), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    rgb["R"], rgb["G"] = c[:4, :4, :2] % 256, 7
    put("nifti", "rgb.nii", nifti_bytes(rgb, ct.affine, rgb.dtype))


# ----------------------------------------------------------------------------------------------- arrays


def npy_bytes(array):
    file = io.BytesIO()
    numpy.save(file, array)
    return file.getvalue()


def npz_bytes(save, **arrays):
    file = io.BytesIO()
    save(file, **arrays)
    return file.getvalue()


def make_arrays():
    archive = numpy.load(DATA / "breastmnist.npz")
    images, labels = archive["train_images"][:4, :12, :12], archive["train_labels"][:4]
    put("npy", "picture.npy", npy_bytes(images[0]))
    put("npy", "fortran.npy", npy_bytes(numpy.asfortranarray(images[:3].astype("f4"))))
    put("npy", "big_endian.npy", npy_bytes(images[:2].astype(">i2")))
    put("npy", "half.npy", npy_bytes(images[:2, ..., None].astype("f2")))
    put("npy", "colour.npy", npy_bytes(numpy.repeat(images[0][..., None], 3, 2)))
    put("npy", "labels.npy", npy_bytes(numpy.array([1, 0], "i8")))
    put("npy", "columns.npy", npy_bytes(numpy.array([[1, 0, 1], [0, 0, 1]], "u1")))
    put("npz", "stored.npz", npz_bytes(numpy.savez, train_images=images, train_labels=labels))
    put("npz", "deflated.npz", npz_bytes(numpy.savez_compressed, val_images=images[:2], val_labels=labels[:2, None]))
    put("npz", "solid.npz", npz_bytes(numpy.savez_compressed, test_images=images[None, :3].astype("f4")))
    put("npz", "columns.npz", npz_bytes(numpy.savez, train_images=images[:2], train_labels=numpy.eye(2, dtype="u1")))


# --------------------------------------------------------------------------------------------- pictures


def saved(image, form, **options):
    file = io.BytesIO()
    image.save(file, form, **options)
    return file.getvalue()


def interlaced(data):
    """A gray picture of 5 x 5, all seven passes of Adam7 (which Pillow does not write)."""
    passes = [(0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)]
    rows = b""
    for x, y, dx, dy in passes:
        for line in data[y::dy]:
            rows += b"\0" + line[x::dx].tobytes() if line[x::dx].size else b""
    chunks = [(b"IHDR", b"\0\0\0\5\0\0\0\5\10\0\0\0\1"), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    out = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        out += len(body).to_bytes(4, "big") + kind + body + zlib.crc32(kind + body).to_bytes(4, "big")
    return out


def plain_tiff(entries, data, order="<", big=False):
    """One page: `entries` are (tag, values), the data follow the header, where 273 or 324 with value 0 points."""
    offset = 16 if big else 8
    head = {"<": b"II", ">": b"MM"}[order] + struct.pack(order + ("HHH" if big else "H"), *((43, 8, 0) if big else (42,)))
    head += struct.pack(order + ("Q" if big else "I"), offset + len(data))
    body = struct.pack(order + ("Q" if big else "H"), len(entries))
    for tag, value in entries:
        value = offset if tag in (273, 324) else value
        body += struct.pack(order + ("HHQQ" if big else "HHII"), tag, 4, 1, value)
    return head + data + body + bytes(8)


def rare_tiffs(gray):
    """What Pillow does not write: tiles, white at 0, the other byte order, BigTIFF, signed numbers."""
    sizes = [(256, 16), (257, 16), (258, 8), (259, 1)]
    lines = [(273, 0), (277, 1), (278, 16), (279, 256)]
    tiles = [(277, 1), (322, 16), (323, 16), (324, 0), (325, 256)]
    deep = [(256, 16), (257, 8), (258, 16), (259, 1), (262, 1), (273, 0), (277, 1), (278, 8), (279, 256), (339, 2)]
    put("tiff", "tiles.tif", plain_tiff(sizes + [(262, 1)] + tiles, gray.tobytes()))
    put("tiff", "white.tif", plain_tiff(sizes + [(262, 0)] + lines, gray.tobytes(), ">"))
    put("tiff", "signed.tif", plain_tiff(deep, gray.tobytes(), big=True))


def make_pictures():
    tile = Image.open(DATA / "pathology/CMU-1-tile_r1_c1.png").convert("RGB").crop((100, 100, 114, 112))
    blood = Image.open(DATA / "blood/BloodImage_00000.jpg").crop((200, 200, 224, 216))
    gray = blood.convert("L")
    deep = Image.fromarray(numpy.asarray(gray).astype("u2") * 200)
    put("png", "colour.png", saved(tile, "PNG"))
    put("png", "palette.png", saved(tile.quantize(8), "PNG"))
    put("png", "alpha.png", saved(tile.convert("RGBA"), "PNG"))
    put("png", "gray.png", saved(gray, "PNG", dpi=(72, 72)))
    put("png", "bits.png", saved(gray.convert("1"), "PNG"))
    put("png", "deep.png", saved(deep, "PNG"))
    put("png", "interlaced.png", interlaced(numpy.asarray(gray)[:5, :5]))
    put("jpeg", "colour.jpg", saved(blood, "JPEG", quality=70))
    put("jpeg", "gray.jpg", saved(gray, "JPEG", quality=50))
    put("jpeg", "progressive.jpg", saved(blood, "JPEG", quality=40, progressive=True))
    put("jpeg", "fine.jpg", saved(blood.crop((0, 0, 9, 9)), "JPEG", quality=90, subsampling=0, optimize=True))
    put("jpeg", "cmyk.jpg", saved(tile.convert("CMYK"), "JPEG", quality=30))
    for name, image, options in [
        ("gray", gray, {}),
        ("deep", deep, {"compression": "tiff_lzw"}),
        ("float", gray.convert("F"), {"compression": "tiff_deflate"}),
        ("colour", tile, {"compression": "packbits"}),
        ("bits", gray.convert("1"), {"compression": "group4"}),
        ("jpeg", tile, {"compression": "jpeg"}),
        ("palette", tile.quantize(8), {"compression": "tiff_adobe_deflate"}),
        ("pages", gray.crop((0, 0, 8, 8)), {"save_all": True, "append_images": [gray.crop((8, 8, 16, 16))] * 2}),
    ]:
        put("tiff", name + ".tif", saved(image, "TIFF", **options))
    rare_tiffs(numpy.asarray(gray)[:16, :16])


# ------------------------------------------------------------------------------------------------ texts


def make_texts():
    put("list", "plain.csv", b"path,label,split\na.npy,0,train\nb.npy,1,val\n")
    put("list", "names.csv", b'path,label,weight,modality\n"a.npy",cat,2.5,MR\nb.npy,"do,g",1,CT\n')
    put("list", "columns.csv", b"\xef\xbb\xbfpath,label.x,label.y\r\na.npy,0,1\r\nb.npy,,\r\n")
    put("list", "maps.csv", b"path,label_map\na.npy,b.npy\nmissing.npy,\n")
    put("list", "paths.txt", b"# two\na.npy\n\n  b.npy \n*.npy\n")
    columns = "key,modality,shape-0,shape-1,shape-2,space-0,space-1,space-2,channels,weight,collection,split,label,origin,volume,volumes,affine"
    row = "a,MR,2,3,2,2.5,0.5,0.5,1,1,set,train,0,/x/a.nii,0,1,"
    put("table", "plain.csv", f"{columns}\n{row}\n".encode())
    put("table", "affine.csv", f"{columns}\n{row}0 0 0.5 0 0 0.5 0 0 2.5 0 0 0 0 0 0 1\n{row}\n".encode())
    put("table", "broken.csv", f'{columns}\n"a",MR,2,x,2\n{row[:20]}'.encode())
    description = {"labels": {"0": "background", "1": "left"}, "training": [{"image": "a.npy", "label": "a.npy"}]}
    put("pairs", "decathlon.json", json.dumps(description).encode())
    description["labels"] = {"background": 0, "left": 1, "both": [0, 1]}
    put("pairs", "nnunet.json", json.dumps(description).encode())
    put("pairs", "empty.json", b'{"training": []}')
    put("json", "values.json", b'{"a":{"b":[1,2.5e3,-7],"c":"\\u00e9\\n"},"d":true,"e":null,"x.y":0.1}')
    put("json", "empty.json", b" {} ")
    put("json", "tiny.json", Path("examples/configs/tiny.json").read_bytes())
    put("metrics", "run.jsonl", b'{"step":1,"loss":0.5}\n{"step":2,"loss":[0.1,null]}\n{"step":9,"loss":1}\n')
    put("metrics", "cut.jsonl", b'{"step":1,"loss":0.5}\n{"step":2,"lo')
    put("metrics", "none.jsonl", b"\n\n{}\n")


def make_models():
    vit = {"patch": [2, 2, 2], "dim": 4, "depth": 1, "heads": 1, "hidden": 4, "pos_embed_shape": [1, 2, 2]}
    flat = dict(vit, patch=[1, 4, 4], in_channels=1, pool="cls", mask_layers=[0])
    put("model", "vit.json", json.dumps({"vit": vit, "classifier": {"classes": 3}}).encode())
    put("model", "flat.json", json.dumps({"vit": flat, "classifier": {"classes": 2, "pool": "attention"}}).encode())
    tokenizer = {"in_channels": 1, "start_stride": 2, "channels": [4, 8], "codes": 4, "code_dim": 4}
    put("model", "tokenizer.json", json.dumps({"tokenizer": tokenizer}).encode())
    segmenter = {"vit": dict(flat, dim=8), "patch": [1, 4, 4], "dim": 8, "depth": 4, "heads": 1, "hidden": 8,
                 "pos_embed_shape": [1, 2, 2], "classes": 2, "channels": [4, 4, 4, 4], "full_res_channels": [4, 4]}  # fmt: skip
    put("model", "segmenter.json", json.dumps({"segmenter": segmenter}).encode())
    put("model", "discriminator.json", json.dumps({"discriminator": {"in_channels": 1, "channels": [4, 8]}}).encode())
    put("model", "huge.json", json.dumps({"vit": {"dim": 65536, "depth": 64, "heads": 64, "hidden": 262144}}).encode())


# ---------------------------------------------------------------------------------------------- weights


def header_of(data):
    length = int.from_bytes(data[:8], "little")
    return data[8 : 8 + length]


def make_weights(build):
    """The configuration and the images are those of fuzz_checkpoint.c."""
    vit = {"patch": [1, 2, 2], "in_channels": 1, "dim": 4, "depth": 1, "heads": 1, "hidden": 4, "pos_embed_shape": [1, 2, 2]}
    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder)
        pixels = (numpy.arange(128) * 7).astype("u1").reshape(8, 4, 4)
        numpy.savez(run / "images.npz", train_images=pixels, train_labels=(numpy.arange(8) % 2).astype("u1"))
        (run / "config.json").write_text(json.dumps({"vit": vit, "train": {"steps": 2, "batch": 2, "warmup": 1}}))
        subprocess.run([f"{build}/bin/pumit-finetune-classify", "--config", run / "config.json", "--output", run / "run",
                        "--from-scratch", run / "images.npz"], check=True)  # fmt: skip
        checkpoint = next((run / "run/checkpoints").glob("*.safetensors")).read_bytes()
        model = (run / "run/model.safetensors").read_bytes()
    put("checkpoint", "run.safetensors", checkpoint)
    put("checkpoint", "header.json", header_of(checkpoint))
    put("safetensors", "classifier.safetensors", model)
    put("safetensors", "classifier.json", header_of(model))
    put("safetensors", "transformer.json", header_of((CORPUS / "safetensors/transformer.safetensors").read_bytes()))


make_volumes()
make_arrays()
make_pictures()
for each in ["nifti/ct.nii", "nifti/version2.nii", "nifti/series.nii", "nifti/rgb.nii", "npy/half.npy", "png/colour.png"]:
    put("prepare", Path(each).name, (CORPUS / each).read_bytes())
make_texts()
make_models()
make_weights(sys.argv[1])
