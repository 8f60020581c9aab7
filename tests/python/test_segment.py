# SPDX-License-Identifier: Apache-2.0
"""Label maps as nibabel sees them, beside the images that they belong to."""

import itertools
import json
import unittest

import numpy as np
import pumit
from support import Case, sample, write_nifti

try:
    import nibabel
    from nibabel.orientations import apply_orientation, inv_ornt_aff
except ImportError:
    nibabel = None

SEGMENTER = {
    "in_channels": 1,
    "dim": 24,
    "depth": 4,
    "heads": 2,
    "patch": [4, 4, 4],
    "adaptive": True,
    "classes": 3,
    "channels": [8, 8, 8, 8],
    "full_res_channels": [8],
    "window": [4, 4, 4],
    "class_names": ["background", "left", "right"],
}


def oblique():
    """An affine of no symmetry, 0.9 x 1.1 x 2.5 mm."""
    cross = np.array([[0, -0.3, 0.2], [0.3, 0, -0.4], [-0.2, 0.4, 0]])  # Cayley: half of the turn
    turn = np.linalg.solve(np.eye(3) - cross / 2, np.eye(3) + cross / 2)
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag([0.9, 1.1, 2.5])
    affine[:3, 3] = [-31.25, 17.5, 3]
    return affine


def forty_eight(shape, affine):
    """(orientation, affine) of every order and direction of axes, each the same place in the world."""
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            orientation = np.column_stack([order, signs])
            yield orientation, affine @ inv_ornt_aff(orientation, shape)


@unittest.skipUnless(nibabel, "nibabel is not installed")
class Geometry(Case):
    def check_same_grid(self, path, source):
        written, image = nibabel.load(path), nibabel.load(source)
        self.assertEqual(written.shape, image.shape[:3])
        self.assertTrue(np.array_equal(written.affine, image.affine))
        for code, matrix in (written.get_qform, image.get_qform), (written.get_sform, image.get_sform):
            (got, got_code), (wanted, wanted_code) = code(coded=True), matrix(coded=True)
            self.assertEqual(got_code, wanted_code)
            self.assertTrue(np.array_equal(got, wanted) if got_code else got is wanted)
        for name in "pixdim", "quatern_b", "qoffset_x", "srow_x", "sizeof_hdr":
            a, b = written.header[name], image.header[name]
            self.assertTrue(np.array_equal(a[:4] if name == "pixdim" else a, b[:4] if name == "pixdim" else b), name)
        self.assertEqual(written.header.get_xyzt_units()[0], image.header.get_xyzt_units()[0])
        self.assertEqual(written.get_data_dtype(), np.uint8)
        self.assertEqual(written.header.get_intent()[0], "label")
        return written

    def test_labels_lie_on_their_image_however_it_is_stored(self):
        labels = np.random.default_rng(0).integers(0, 6, (7, 9, 5)).astype(np.uint8)
        for affine in np.diag([1.0, 1.25, 3, 1]), oblique():
            for orientation, turned in forty_eight(labels.shape, affine):
                data = apply_orientation(labels, orientation)
                path = self.folder / "scan.nii.gz"
                nibabel.save(nibabel.Nifti1Image(data.astype(np.int16), turned), path)
                volume = pumit.Volume.read(self.context, path)
                seen = volume.voxels[..., 0].astype(np.uint8)
                pumit.LabelMap(self.context, volume, seen).write(self.folder / "map.nii.gz")
                written = self.check_same_grid(self.folder / "map.nii.gz", path)
                self.assertTrue(np.array_equal(np.asarray(written.dataobj), data))
                # The same as the labels where they were first, taken there by nibabel.
                back = nibabel.orientations.ornt_transform(
                    nibabel.io_orientation(written.affine), nibabel.io_orientation(affine)
                )
                world = written.as_reoriented(back)
                self.assertTrue(np.allclose(world.affine, affine, atol=1e-5))
                self.assertTrue(np.array_equal(np.asarray(world.dataobj), labels))

    def test_a_network_sees_the_same_scan_however_it_is_stored(self):
        scan, affine = sample((18, 20, 8)), oblique()
        segmenter = pumit.Segmenter(self.context, {**SEGMENTER, "spacing": [0, 1.2, 1.2]})
        path, first = self.folder / "scan.nii", None
        for orientation, turned in list(forty_eight(scan.shape, affine))[::5]:
            nibabel.save(nibabel.Nifti1Image(apply_orientation(scan, orientation), turned), path)
            found = segmenter.segment(pumit.Volume.read(self.context, path))
            found.write(self.folder / "map.nii.gz")
            written = self.check_same_grid(self.folder / "map.nii.gz", path)
            back = nibabel.orientations.ornt_transform(
                nibabel.io_orientation(written.affine), nibabel.io_orientation(affine)
            )
            labels = np.asarray(written.as_reoriented(back).dataobj)
            first = labels if first is None else first
            self.assertGreater((labels == first).mean(), 0.999)  # 32-bit headers differ a little
        self.assertGreater(len(np.unique(first)), 1)

    def test_headers_are_kept_number_by_number(self):
        data = np.zeros((5, 6, 7), np.int16)
        for kind in nibabel.Nifti1Image, nibabel.Nifti2Image:
            for shape in (5, 6, 7), (5, 6, 7, 1), (5, 6, 1), (5, 6):
                image = kind(data[..., :1].reshape(5, 6, 1)[..., 0] if len(shape) == 2 else np.zeros(shape, np.int16), np.eye(4))
                image.set_qform(oblique(), code=1)
                image.set_sform(np.diag([-1 / 3, 1, 0.1, 1]), code=4)
                image.header.set_xyzt_units("mm", "sec")
                nibabel.save(image, self.folder / "scan.nii")
                volume = pumit.Volume.read(self.context, self.folder / "scan.nii")
                pumit.LabelMap(self.context, volume).write(self.folder / "map.nii")
                self.check_same_grid(self.folder / "map.nii", self.folder / "scan.nii")

    def test_names_are_in_the_header(self):
        volume = self.scan()
        pumit.LabelMap(self.context, volume).write(self.folder / "map.nii.gz", SEGMENTER)
        (extension,) = nibabel.load(self.folder / "map.nii.gz").header.extensions
        self.assertEqual(extension.get_code(), 6)
        content = extension.get_content()
        text = content.decode() if isinstance(content, bytes) else content
        self.assertEqual(json.loads(text.rstrip("\0"))["labels"]["2"], "right")

    def test_an_image_without_header_gets_an_sform(self):
        labels = np.random.default_rng(1).integers(0, 6, (7, 9, 5)).astype(np.uint8)
        for orientation, turned in forty_eight(labels.shape, oblique()):
            data = apply_orientation(labels, orientation)
            volume = pumit.Volume(self.context, data, turned)
            seen = volume.voxels[..., 0].astype(np.uint8)
            pumit.LabelMap(self.context, volume, seen).write(self.folder / "map.nii")
            written = nibabel.load(self.folder / "map.nii")
            self.assertTrue(np.array_equal(np.asarray(written.dataobj), data))
            self.assertTrue(np.allclose(written.affine, turned, atol=1e-5))

    def test_probabilities(self):
        volume = self.scan()
        segmenter = pumit.Segmenter(self.context, SEGMENTER)
        path = self.folder / "p.nii"
        found = segmenter.segment(volume, {"probabilities": str(path)})
        found.write(self.folder / "map.nii.gz")
        values = nibabel.load(path)
        self.assertEqual(values.shape, (24, 32, 8, 3))
        self.assertTrue(np.array_equal(values.affine, nibabel.load(self.folder / "scan.nii.gz").affine))
        data = np.asarray(values.dataobj)
        self.assertTrue(np.allclose(data.sum(axis=3), 1, atol=1e-5))
        labels = np.asarray(nibabel.load(self.folder / "map.nii.gz").dataobj)
        self.assertTrue(np.array_equal(data.argmax(axis=3), labels))
        self.assertGreater(len(np.unique(labels)), 1)


class Segmenting(Case):
    def test_progress_stops_the_work(self):
        volume, segmenter = self.scan(), pumit.Segmenter(self.context, SEGMENTER)
        seen = []
        segmenter.segment(volume, progress=lambda done, total: seen.append((done, total)))
        self.assertEqual([done for done, _ in seen], list(range(1, seen[0][1] + 1)))
        with self.assertRaises(pumit.CancelledError):
            segmenter.segment(volume, progress=lambda done, total: True)
        with self.assertRaises(ZeroDivisionError):
            segmenter.segment(volume, progress=lambda done, total: 1 / 0)
        with self.assertRaises(pumit.LimitError):
            segmenter.segment(volume, {"memory": 1000})

    def test_files_are_listed(self):
        for name in "a.nii.gz", "b.nii":
            write_nifti(self.folder / name, np.zeros((2, 2, 2), np.float32), (1, 1, 1))
        listed = [each["path"] for each in pumit.Dataset.files(self.folder)]
        self.assertEqual(listed, [str(self.folder / "a.nii.gz"), str(self.folder / "b.nii")])
        with self.assertRaises(pumit.NotFoundError):
            pumit.Dataset.files(self.folder / "none")


if __name__ == "__main__":
    unittest.main()
