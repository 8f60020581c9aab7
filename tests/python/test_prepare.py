# SPDX-License-Identifier: Apache-2.0
"""Prepared sets as numpy and nibabel see them."""

import csv
import itertools
import unittest

import numpy as np
import pumit
from support import Case, sample, write_nifti

try:
    import nibabel
except ImportError:
    nibabel = None


def slice_axis(affine, shape):
    """The axis that becomes D, from its definition: the other two spacings are the closest."""
    if 1 in shape:
        return shape.index(1)
    steps = np.linalg.norm(affine[:3, :3], axis=0)
    ratio = [max(a / b, b / a) for a, b in ((steps[(i + 1) % 3], steps[i - 1]) for i in range(3))]
    ties = [i for i in range(3) if ratio[i] <= min(ratio) * 1.001]
    return max(ties, key=lambda i: abs(affine[2, i]) / steps[i])


class Prepared(Case):
    def prepare(self, paths, **options):
        output = self.folder / "set"
        report = pumit.prepare(self.context, paths, {"output": str(output), **options})
        with open(output / "images-meta.csv", newline="") as table:
            return report, list(csv.DictReader(table))

    def voxels(self, row):
        array = np.load(self.folder / "set" / "data" / f"{row['key']}.npy")
        self.assertEqual(array.dtype, np.float16)
        return array.astype(np.float64)

    def test_numpy_reads_what_was_prepared(self):
        write_nifti(self.folder / "a.nii.gz", sample((40, 32, 8)), (0.5, 0.5, 4.0))
        report, (row,) = self.prepare(self.folder / "a.nii.gz", most_side=20, foreground=False)
        self.assertEqual((report["images"], report["skipped"]), (1, []))
        array = self.voxels(row)
        self.assertEqual(array.shape, (1, 8, 16, 20))
        self.assertTrue(0 <= array.min() < 0.1 and 0.9 < array.max() <= 1)
        np.testing.assert_allclose(
            [float(row[f"space-{i}"]) for i in range(3)], [4, 1, 1], rtol=1e-6
        )
        images = pumit.Dataset(self.context, self.folder / "set")
        np.testing.assert_array_equal(images[0].voxels[..., 0], array[0])
        again = pumit.Dataset(self.context, self.folder / "set")
        next((self.folder / "set" / "data").iterdir()).write_bytes(b"x")
        with self.assertRaises(pumit.FileError):
            _ = again[0].voxels

    def test_progress_may_raise(self):
        for i in range(3):
            write_nifti(self.folder / f"{i}.nii", sample((16, 16, 4), i), (1, 1, 4))

        def stop(done, total, path):
            raise KeyError((done, total))

        options = {"output": str(self.folder / "set"), "threads": 1}
        with self.assertRaises(KeyError):
            pumit.prepare(self.context, str(self.folder / "*.nii"), options, stop)
        report = pumit.prepare(self.context, str(self.folder / "*.nii"), options)
        self.assertEqual(report["images"], 3)
        calls = []
        options["output"] += "-2"
        pumit.prepare(self.context, self.folder / "0.nii", options, lambda *now: calls.append(now))
        self.assertEqual(calls, [(1, 1, str((self.folder / "0.nii").resolve()))])

    @unittest.skipUnless(nibabel, "nibabel is not installed")
    def test_geometry_is_that_of_nibabel(self):
        random = np.random.default_rng(0)
        wanted = {}
        for number, order in enumerate(itertools.permutations(range(3))):
            data = random.random((9, 7, 5)).astype(np.float32)
            affine = np.eye(4)
            turn = np.linalg.qr(random.normal(size=(3, 3)))[0] if number % 2 else np.eye(3)
            steps = np.array([1.0, 1.25, 4.5])[list(order)] * random.choice([-1, 1], 3)
            affine[:3, :3] = turn * steps
            affine[:3, 3] = random.normal(size=3) * 50
            path = self.folder / f"{number}.nii.gz"
            nibabel.save(nibabel.Nifti1Image(data, affine), path)
            wanted[str(path.resolve())] = nibabel.load(path)
        report, rows = self.prepare(list(wanted), foreground=0.9)
        self.assertEqual((report["images"], len(rows)), (len(wanted), len(wanted)))
        for row in rows:
            image = wanted[row["origin"]]
            self.check_row(row, image, np.asarray(image.dataobj, np.float64))

    def check_row(self, row, image, data):
        """Every voxel of a cropped image, at its place in the world, against nibabel's."""
        array = self.voxels(row)[0]
        affine = np.array(row["affine"].split(), float).reshape(4, 4)
        place = np.linalg.inv(image.affine) @ affine  # (d, h, w) to (i, j, k)
        at = np.stack(np.indices(array.shape), -1) @ place[:3, :3].T + place[:3, 3]
        index = np.rint(at).astype(int)
        self.assertLess(np.abs(at - index).max(), 1e-3)
        low, high = float(row["low"]), float(row["high"])
        values = np.clip((data[tuple(np.moveaxis(index, -1, 0))] - low) / (high - low), 0, 1)
        np.testing.assert_allclose(array, values, atol=2**-11)
        space = [float(row[f"space-{i}"]) for i in range(3)]
        np.testing.assert_allclose(space, np.linalg.norm(affine[:3, :3], axis=0), rtol=1e-6)
        steps = image.header.get_zooms()[:3]
        axis = slice_axis(image.affine, data.shape)
        self.assertAlmostEqual(space[0], steps[axis], places=5)
        # Nothing above the threshold was cut off.
        self.assertEqual((data > 0.9).sum(), (data[tuple(np.moveaxis(index, -1, 0))] > 0.9).sum())


if __name__ == "__main__":
    unittest.main()
