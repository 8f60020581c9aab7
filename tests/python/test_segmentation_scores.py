# SPDX-License-Identifier: Apache-2.0
"""Scores of segmentations beside those that SciPy's distance transform gives."""

import math
import unittest

import numpy as np
import pumit
from support import Case

try:
    from scipy import ndimage
except ImportError:
    ndimage = None


def shape_of_noise(shape, seed):
    """Two classes of blobs."""
    field = np.random.default_rng(seed).normal(size=shape)
    for axis in range(3):
        for _ in range(3):
            field = field + np.roll(field, 1, axis) + np.roll(field, -1, axis)
    field /= field.std()
    return ((field > 0.3).astype(np.uint8) + (field > 1)).astype(np.uint8)


def expected(prediction, reference, spacing, tolerance):
    """HD95 and surface Dice of two masks by erosion and the distance transform of SciPy."""
    cross = ndimage.generate_binary_structure(3, 1)
    p, r = (mask & ~ndimage.binary_erosion(mask, cross) for mask in (prediction, reference))
    there = ndimage.distance_transform_edt(~r, sampling=spacing)[p]
    back = ndimage.distance_transform_edt(~p, sampling=spacing)[r]
    near = (there <= tolerance).sum() + (back <= tolerance).sum()
    far = max(np.percentile(there, 95), np.percentile(back, 95))
    return far, near / (len(there) + len(back))


class SegmentationScores(Case):
    SHAPE, SPACING = (11, 30, 26), (3.5, 0.9, 1.3)

    def label_maps(self, *arrays):
        affine = np.zeros((4, 4))
        affine[[2, 1, 0], [0, 1, 2]] = self.SPACING  # D, H, W along S, A, R
        affine[3, 3] = 1
        grid = pumit.Volume(self.context, np.zeros(self.SHAPE, np.float32), affine)
        self.assertEqual(grid.shape[:3], self.SHAPE)
        return [pumit.LabelMap(self.context, grid, array) for array in arrays]

    @unittest.skipIf(ndimage is None, "SciPy is not installed")
    def test_distances_are_those_of_scipy(self):
        for seed in range(3):
            arrays = [shape_of_noise(self.SHAPE, 2 * seed + i) for i in range(2)]
            scores = pumit.segmentation_scores(*self.label_maps(*arrays), 3, 2.0)
            for c in (1, 2):
                p, r = (array == c for array in arrays)
                far, near = expected(p, r, self.SPACING, 2.0)
                self.assertGreater(far, 1)
                self.assertLess(near, 0.95)
                self.assertAlmostEqual(scores.hausdorff95[c], far, delta=1e-9)
                self.assertAlmostEqual(scores.surface_dice[c], near, delta=1e-12)
                dice = 2 * (p & r).sum() / (p.sum() + r.sum())
                self.assertAlmostEqual(scores.dice[c], dice, delta=1e-12)

    def test_reports(self):
        reference = np.zeros(self.SHAPE, np.uint8)
        reference[5, 10:14, 10:14] = 1
        prediction = reference.copy()
        prediction[5, 10:12] = 0
        maps = self.label_maps(prediction, reference)
        scores = pumit.segmentation_scores(*maps, 3)
        self.assertAlmostEqual(scores.dice[1], 2 / 3, delta=1e-12)
        self.assertTrue(math.isnan(scores.dice[2]) and math.isnan(scores.hausdorff95[0]))
        with pumit.SegmentationReport({"class_names": ["", "square"]}) as report:
            report.add("one", *maps)
            report.add("two", maps[1], maps[1])
            tree = report.to_dict()
        self.assertEqual(tree["classes"][0]["name"], "square")
        self.assertAlmostEqual(tree["mean"]["dice"]["mean"], 5 / 6, delta=1e-12)
        self.assertEqual([case["name"] for case in tree["cases"]], ["one", "two"])
        with self.assertRaises(pumit.InvalidArgumentError):
            pumit.segmentation_scores(*maps, 1)
        with self.assertRaises(pumit.StateError):
            report.to_dict()


if __name__ == "__main__":
    unittest.main()
