# SPDX-License-Identifier: Apache-2.0
"""Configs, contexts, tensors, volumes and datasets from Python."""

import gc
import math
import unittest

import numpy as np
import pumit
from support import SPACING, Case, sample, write_nifti

try:
    import torch
except ImportError:
    torch = None


class Configs(Case):
    VALUES = {"vit": {"dim": 768, "rate": 0.25, "on": True}, "patch": [16, 8, 4], "name": 'ä"\n'}

    def test_dicts_come_back(self):
        self.assertEqual(pumit.Config(self.VALUES).to_dict(), self.VALUES)
        self.assertEqual(
            pumit.Config.parse(pumit.Config(self.VALUES).to_json()).to_dict(), self.VALUES
        )
        self.assertEqual(pumit.Config().to_dict(), {})

    def test_values_by_key(self):
        config = pumit.Config()
        config["vit.dim"], config["vit.rate"], config["vit.on"] = 768, 0.25, True
        config["patch"], config["name"] = [16, 8, 4], 'ä"\n'
        self.assertEqual(config.to_dict(), self.VALUES)
        self.assertEqual(config.get_int("vit.dim"), 768)
        self.assertEqual(config.get_float("vit.rate"), 0.25)
        self.assertIs(config.get_bool("vit.on"), True)
        self.assertEqual(config.get_str("name"), 'ä"\n')
        self.assertEqual(config.get_ints("patch"), [16, 8, 4])
        self.assertEqual(config.get_int("absent", 5), 5)
        self.assertEqual(config.section("vit").to_dict(), self.VALUES["vit"])
        config.set_json("patch", "[1]")
        config.merge({"vit": {"dim": 8}})
        self.assertEqual(config.to_dict()["patch"], [1])
        self.assertEqual(config.to_dict()["vit"], {"dim": 8, "rate": 0.25, "on": True})

    def test_files_and_failures(self):
        path = self.folder / "config.json"
        path.write_text('{"a": 1}')
        self.assertEqual(pumit.Config.read(path).to_dict(), {"a": 1})
        with self.assertRaises(pumit.InvalidArgumentError) as raised:
            pumit.Config({"a": "text"}).get_int("a")
        self.assertIn("a", str(raised.exception))
        self.assertEqual(raised.exception.status, -1)
        path.write_text('{"a": ')
        with self.assertRaises(pumit.Error) as raised:
            pumit.Config.read(path)
        self.assertIn("config.json", str(raised.exception))


class Contexts(Case):
    def test_options(self):
        with pumit.Context({"device": "reference"}, threads=2) as context:
            self.assertEqual((context.device, context.threads), ("reference", 2))
            self.assertIn("reference, 2 threads", repr(context))
        self.assertTrue(context.closed)
        with self.assertRaises(pumit.StateError):
            print(context.threads)
        with self.assertRaises(pumit.Error):
            pumit.Context(device="abacus")

    def test_recording_is_restored(self):
        self.assertFalse(self.context.set_recording(False))
        with self.context.recording():
            self.assertTrue(self.context.set_recording(True))
        self.assertFalse(self.context.set_recording(False))

    def test_memory_is_given_back(self):
        before = self.context.memory.in_use
        tensor = pumit.Tensor.zeros(self.context, (256, 1024))
        self.assertGreaterEqual(self.context.memory.in_use, before + 2**20)
        tensor.close()
        self.assertEqual(self.context.memory.in_use, before)
        self.assertGreaterEqual(self.context.memory.peak, before + 2**20)
        self.context.trim()

    def test_objects_keep_their_context(self):
        with pumit.Context(threads=1) as context:
            context.set_log(lambda level, message: None)
            tensor = pumit.Tensor(context, np.arange(4.0))
        self.assertEqual(tensor.numpy().tolist(), [0, 1, 2, 3])


class Tensors(Case):
    def test_arrays_come_back(self):
        for dtype in "float32 float64 float16 uint8 int16 int32 int64".split():
            array = np.arange(24).reshape(2, 3, 4).astype(dtype)
            tensor = pumit.Tensor(self.context, array)
            self.assertEqual((tensor.dtype, tensor.shape, tensor.size), (dtype, (2, 3, 4), 24))
            np.testing.assert_array_equal(tensor.numpy(), array)
            np.testing.assert_array_equal(tensor.read("float64"), array.astype("float64"))
            self.assertEqual(pumit.dtype_size(dtype), array.itemsize)
        self.assertEqual(repr(tensor), "<pumit.Tensor int64 (2, 3, 4)>")
        self.assertEqual(len(tensor), 2)

    def test_strided_arrays_are_packed(self):
        array = np.arange(12.0).reshape(3, 4).T
        np.testing.assert_array_equal(pumit.Tensor(self.context, array).numpy(), array)

    def test_odd_shapes(self):
        scalar = pumit.Tensor(self.context, 2.5)
        self.assertEqual((scalar.shape, scalar.item(), float(scalar.numpy())), ((), 2.5, 2.5))
        with self.assertRaises(pumit.UnsupportedError):
            pumit.Tensor(self.context, np.zeros(3, np.complex64))
        with self.assertRaises(pumit.Error):
            pumit.Tensor(self.context, np.zeros((1,) * 9))
        with self.assertRaises(pumit.Error):
            pumit.Tensor(self.context, [1.0, 2.0]).item()

    def test_bfloat16_is_read_by_conversion(self):
        tensor = pumit.Tensor.zeros(self.context, (2,), "bfloat16")
        tensor.write(np.array([1.5, -2], np.float32))
        self.assertEqual(tensor.read().tolist(), [1.5, -2])
        with self.assertRaises(pumit.UnsupportedError):
            tensor.numpy()

    def test_writing_checks_the_size(self):
        tensor = pumit.Tensor.zeros(self.context, (4,))
        tensor.write(np.arange(4, dtype=np.int32))
        self.assertEqual(tensor.read().tolist(), [0, 1, 2, 3])
        with self.assertRaises(pumit.Error):
            tensor.write(np.arange(3, dtype=np.float32))

    def test_numpy_shares_and_outlives(self):
        before = self.context.memory.in_use
        with pumit.Tensor.zeros(self.context, (1000,)) as tensor:
            view = tensor.numpy()
            view[3] = 7
            self.assertEqual(tensor.read()[3], 7)
            self.assertIs(np.asarray(tensor, np.float64).dtype, np.dtype(np.float64))
        with self.assertRaises(pumit.StateError):
            print(tensor.shape)
        part = view[2:5]
        del view
        gc.collect()
        self.assertEqual(part.tolist(), [0, 7, 0])
        self.assertGreater(self.context.memory.in_use, before)
        del part
        self.assertEqual(self.context.memory.in_use, before)

    def test_dlpack_to_numpy(self):
        before = self.context.memory.in_use
        tensor = pumit.Tensor(self.context, np.arange(6, dtype=np.float32).reshape(2, 3))
        self.assertEqual(tensor.__dlpack_device__(), (1, 0))
        shared = np.from_dlpack(tensor)
        tensor.numpy()[1, 2] = 50
        tensor.close()
        self.assertEqual(shared.tolist(), [[0, 1, 2], [3, 4, 50]])
        del shared
        self.assertEqual(self.context.memory.in_use, before)

    def test_a_capsule_no_one_took_is_freed(self):
        before = self.context.memory.in_use
        tensor = pumit.Tensor.zeros(self.context, (1000,))
        capsule = tensor.__dlpack__()
        tensor.close()
        self.assertGreater(self.context.memory.in_use, before)
        del capsule
        self.assertEqual(self.context.memory.in_use, before)

    def test_dlpack_from_numpy(self):
        array = np.arange(6, dtype=np.float32).reshape(2, 3)
        tensor = pumit.Tensor.from_dlpack(array, self.context)
        array[0, 1] = 9
        self.assertEqual(tensor.read().tolist(), [[0, 9, 2], [3, 4, 5]])
        tensor.numpy()[1, 0] = -1
        self.assertEqual(array[1, 0], -1)
        del array
        gc.collect()
        self.assertEqual(tensor.read()[0, 1], 9)

    def test_dlpack_keeps_strides(self):
        array = np.arange(6, dtype=np.float32).reshape(2, 3).T
        tensor = pumit.Tensor.from_dlpack(array, self.context)
        np.testing.assert_array_equal(tensor.read(), array)

    def test_dlpack_through_both(self):
        tensor = pumit.Tensor.from_dlpack(pumit.Tensor(self.context, np.arange(3.0)), self.context)
        self.assertEqual(np.from_dlpack(tensor).tolist(), [0, 1, 2])

    @unittest.skipIf(torch is None, "torch is not installed")
    def test_dlpack_with_torch(self):
        tensor = pumit.Tensor(self.context, np.arange(6, dtype=np.float32).reshape(2, 3))
        shared = torch.from_dlpack(tensor)
        shared[1, 1] = 40
        self.assertEqual(tensor.read()[1, 1], 40)
        tensor.close()
        self.assertEqual(shared.sum().item(), 51)
        back = pumit.Tensor.from_dlpack(shared, self.context)
        back.numpy()[0, 0] = 3
        self.assertEqual(shared[0, 0].item(), 3)
        del shared
        gc.collect()
        self.assertEqual(back.read()[0].tolist(), [3, 1, 2])


class Volumes(Case):
    def test_a_file_comes_with_its_geometry(self):
        volume = self.scan()
        self.assertEqual(volume.shape, (8, 32, 24, 1))
        np.testing.assert_allclose(volume.spacing, SPACING)
        self.assertEqual(volume.anisotropy, 2)
        self.assertEqual(pumit.degree_of_anisotropy(volume.spacing), 2)
        self.assertEqual(volume.source_axes, (2, 1, 0))
        self.assertEqual(volume.modality, "")
        np.testing.assert_array_equal(volume.voxels[..., 0], sample().transpose(2, 1, 0))
        self.assertEqual(pumit.file_count(self.context, self.folder / "scan.nii.gz"), 1)
        self.assertIn("8x32x24x1, 4 x 1 x 1 mm", repr(volume))

    def test_arrays_become_volumes(self):
        affine = np.diag([0.5, 0.5, 3, 1])
        affine[:3, 3] = [10, 20, 30]
        array = np.arange(2 * 3 * 4, dtype=np.int16).reshape(2, 3, 4)
        volume = pumit.Volume(self.context, array, affine)
        self.assertEqual(volume.shape[3], 1)
        self.assertEqual(sorted(volume.shape[:3]), [2, 3, 4])
        self.assertEqual(volume.spacing, (3, 0.5, 0.5))
        axes = volume.source_axes
        np.testing.assert_array_equal(volume.voxels[..., 0], array.transpose(axes))
        # The same voxel lies at the same place in the world.
        index = np.array([1, 2, 3])
        np.testing.assert_allclose(volume.affine @ [*index[list(axes)], 1], affine @ [*index, 1])
        with self.assertRaises(ValueError):
            pumit.Volume(self.context, array, np.eye(3))
        with self.assertRaises(ValueError):
            pumit.Volume(self.context, array[0])

    def test_an_image_without_affine_is_2d(self):
        volume = pumit.Volume(self.context, np.zeros((1, 5, 7, 3), np.uint8))
        self.assertEqual(volume.shape, (1, 5, 7, 3))
        self.assertEqual((volume.spacing, volume.anisotropy), ((math.inf, 1, 1), 5))

    def test_voxels_outlive_the_volume_and_are_read_only(self):
        with self.scan() as volume:
            voxels = volume.voxels
            wanted = voxels.copy()
        gc.collect()
        np.testing.assert_array_equal(voxels, wanted)
        with self.assertRaises(ValueError):
            voxels[0] = 0

    def test_tensors_of_volumes(self):
        volume = self.scan()
        image = volume.to_tensor(3)
        self.assertEqual(image.shape, (1, 8, 32, 24, 3))
        values = image.numpy()
        self.assertEqual((values.min(), values.max()), (0, 1))
        patches, spacing = volume.to_patches((8, 8, 8), 1, max_tokens=16)
        self.assertEqual(patches.shape[4], 1)
        self.assertEqual(pumit.degree_of_anisotropy(spacing), 2)
        depth, height, width = patches.shape[1:4]
        self.assertEqual((depth % 2, height % 8, width % 8), (0, 0, 0))
        self.assertLessEqual(depth // 2 * (height // 8) * (width // 8), 16)

    def test_failures_name_the_file(self):
        with self.assertRaises(pumit.Error) as raised:
            pumit.Volume.read(self.context, self.folder / "absent.nii")
        self.assertIn("absent.nii", str(raised.exception))
        self.assertIn(type(raised.exception), (pumit.FileError, pumit.NotFoundError))
        (self.folder / "text.nii").write_text("no image")
        with self.assertRaises(pumit.FormatError) as raised:
            pumit.Volume.read(self.context, self.folder / "text.nii")
        self.assertIn("text.nii", str(raised.exception))

    def test_sheets_come_back(self):
        tiles = np.random.default_rng(0).integers(0, 256, (4, 6, 5, 3)).astype(np.float32) / 255
        path = self.folder / "sheet.png"
        pumit.write_png_sheet(path, pumit.Tensor(self.context, tiles), 4)
        sheet = pumit.Volume.read(self.context, path)
        self.assertEqual(sheet.shape[3], 3)
        row = sheet.to_tensor(3).numpy()[0, 0]
        found = [
            row[:, x : x + 5]
            for x in range(row.shape[1] - 4)
            if row.shape[0] == 6 and np.allclose(row[:, x : x + 5], tiles[2], atol=1e-6)
        ]
        self.assertEqual(len(found), 1)


class Datasets(Case):
    def test_folders_are_searched_and_labels_read(self):
        for i in range(3):
            write_nifti(self.folder / f"{i}.nii", sample((16, 16, 4), i), (1, 1, 4))
        (self.folder / "bad.nii").write_text("no image")
        rows = [f"{i}.nii,{i % 2}" for i in range(3)]
        (self.folder / "list.csv").write_text("\n".join(["path,label", *rows]) + "\n")
        messages = []
        self.context.set_log(lambda level, message: messages.append((level, message)))
        with pumit.Dataset(self.context, self.folder / "list.csv") as images:
            self.assertEqual((len(images), images.classes, images.skipped), (3, 2, 0))
            self.assertEqual([images.label(i) for i in range(3)], [0, 1, 0])
            self.assertIn("2.nii", images.name(-1))
            volume = images[1]
            part = images.subset({"folds": 3, "fold": 1, "held_out": True})
            self.assertEqual((len(part), part.classes), (1, 2))
            self.assertEqual(len(list(images)), 3)
            with self.assertRaises(IndexError):
                images[3]
        np.testing.assert_array_equal(
            volume.voxels[..., 0], sample((16, 16, 4), 1).transpose(2, 1, 0)
        )
        self.assertEqual(messages, [])
        files = [self.folder / name for name in ("0.nii", "bad.nii")]
        images = pumit.Dataset(self.context, files)
        self.assertEqual((len(images), images.skipped, images.label(0)), (1, 1, None))
        self.assertTrue(any("bad.nii" in message for _, message in messages))
        with self.assertRaises(pumit.Error):
            pumit.Dataset(self.context, self.folder / "absent")


if __name__ == "__main__":
    unittest.main()
