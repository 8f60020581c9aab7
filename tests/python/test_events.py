# SPDX-License-Identifier: Apache-2.0
"""Event files of a run, opened by the real TensorBoard where it is installed; its curves as SVG."""

import json
import os
import subprocess
import unittest
import xml.etree.ElementTree as ElementTree

import pumit
from support import TOKENIZER, Case, sample, write_nifti

try:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
except ImportError:
    EventAccumulator = None

STEPS = 3


class Runs(Case):
    def run_one(self, steps=STEPS, **keys):
        write_nifti(self.folder / "0.nii", sample((24, 24, 4)), (1, 1, 4))
        config = {
            "recipe": "tokenizer",
            "output": str(self.folder / "run"),
            "tokenizer": TOKENIZER,
            "train": {
                "steps": steps, "batch": 1, "tokens": [1, 2, 2], "warmup": 1, "sheet_every": 1,
            },
            **keys,
        }  # fmt: skip
        images = pumit.Dataset(self.context, [self.folder / "0.nii"])
        self.assertTrue(pumit.Trainer(self.context, images, config).run())
        return self.folder / "run"

    def losses(self, run):
        lines = (run / "metrics.jsonl").read_text().splitlines()
        return {json.loads(line)["step"]: json.loads(line)["loss"] for line in lines}

    @unittest.skipUnless(EventAccumulator, "tensorboard is not installed")
    def test_tensorboard_opens_a_run(self):
        run = self.run_one()
        self.run_one(steps=STEPS + 2, resume=True)
        events = EventAccumulator(str(run), size_guidance={"images": 0, "scalars": 0})
        events.Reload()
        tags = events.Tags()
        for name in ("train/loss", "train/psnr", "train/learning_rate", "validation/psnr"):
            self.assertIn(name, tags["scalars"])
        seen = {scalar.step: scalar.value for scalar in events.Scalars("train/loss")}
        self.assertEqual(sorted(seen), list(range(1, STEPS + 3)))
        for step, loss in self.losses(run).items():
            self.assertAlmostEqual(seen[step], loss, delta=1e-6 * max(1, abs(loss)))
        image = events.Images(tags["images"][0])[-1]
        self.assertTrue(image.encoded_image_string.startswith(b"\x89PNG\r\n\x1a\n"))
        sheets = {path.read_bytes() for path in (run / "sheets").glob("*.png")}
        self.assertIn(image.encoded_image_string, sheets)
        self.assertTrue(tags["tensors"])
        text = events.Tensors(tags["tensors"][0])[0].tensor_proto.string_val[0].decode()
        self.assertIn('"learning_rate"', text)

    @unittest.skipUnless("PUMIT_BUILD" in os.environ, "the programs' folder is not known")
    def test_curves_are_drawn(self):
        run, drawing = self.run_one(), self.folder / "curves.svg"
        info = os.path.join(os.environ["PUMIT_BUILD"], "bin", "pumit-info")
        subprocess.run([info, "--plot", drawing, run, run], check=True, stdout=subprocess.DEVNULL)
        root = ElementTree.parse(drawing).getroot()
        texts = [item.text for item in root.iter("{http://www.w3.org/2000/svg}text")]
        for name in ("loss", "l1", "psnr", "learning_rate", "perplexity"):
            self.assertIn(name, texts)
        self.assertEqual(texts.count(str(run)), 2)
