# SPDX-License-Identifier: Apache-2.0
"""What one sees of a run: its event files as TensorBoard reads them, and the curves of pumit-info."""

import json
import math
import os
import subprocess
import tempfile
import unittest
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pumit
from support import TOKENIZER, Case, sample, write_nifti

try:
    from tensorboard.backend.event_processing import event_accumulator
except ImportError:
    event_accumulator = None

SVG = "{http://www.w3.org/2000/svg}"
STEPS = 4


def info(*arguments):
    """Runs pumit-info of the build."""
    program = Path(os.environ["PUMIT_LIBRARY"]).resolve().parent / "bin" / "pumit-info"
    words = [str(program), *(str(word) for word in arguments)]
    out = subprocess.run(words, capture_output=True, timeout=60)
    out.stdout, out.stderr = (part.decode(errors="replace") for part in (out.stdout, out.stderr))
    return out


@unittest.skipIf(event_accumulator is None, "the package tensorboard is not installed")
class TensorBoard(Case):
    def run_to(self, stop, resume=False):
        for i in range(2):
            write_nifti(self.folder / f"{i}.nii", sample((24, 24, 4), i), (1, 1, 4))
        images = pumit.Dataset(self.context, [self.folder / f"{i}.nii" for i in range(2)])
        train = {"steps": STEPS, "batch": 2, "tokens": [1, 2, 2], "warmup": 1}
        train.update(sheet_every=2, validate_every=2, validate_batches=1, checkpoint_every=2)
        config = {"recipe": "tokenizer", "output": str(self.folder / "run"), "resume": resume}
        config.update(tokenizer=TOKENIZER, train=train)
        with pumit.Trainer(self.context, images, config) as trainer:
            return trainer.run(lambda step, *_: step == stop)

    def opened(self):
        events = event_accumulator.EventAccumulator(str(self.folder / "run"))
        return events.Reload()

    def test_a_run_opens(self):
        self.run_to(STEPS)
        events = self.opened()
        lines = (self.folder / "run" / "metrics.jsonl").read_text().splitlines()
        for name in ("loss", "l1", "learning_rate", "images_per_s"):
            told = [(event.step, event.value) for event in events.Scalars("train/" + name)]
            self.assertEqual([step for step, _ in told], list(range(1, STEPS + 1)))
            for line, (_, value) in zip(map(json.loads, lines), told):
                self.assertTrue(abs(value - line[name]) <= 1e-6 * abs(line[name]))
        judged = [event.step for event in events.Scalars("validation/psnr")]
        self.assertEqual(judged, [2, 4])

    def test_pictures_and_configuration_open(self):
        self.run_to(STEPS)
        events = self.opened()
        (tag,) = events.Tags()["images"]
        pictures = events.Images(tag)
        self.assertEqual([picture.step for picture in pictures], [2, 4])
        for picture in pictures:
            name = "{}-step-{:06d}.png".format(tag.split("/")[1], picture.step)
            png = (self.folder / "run" / "sheets" / name).read_bytes()
            self.assertEqual(picture.encoded_image_string, png)
            shape = pumit.Volume.read(self.context, self.folder / "run" / "sheets" / name).shape
            self.assertEqual((picture.height, picture.width), tuple(shape[1:3]))
        (text,) = events.Tensors("config")
        self.assertEqual(events.SummaryMetadata("config").plugin_data.plugin_name, "text")
        told = text.tensor_proto.string_val[0].decode()
        self.assertEqual(json.loads(told.strip("`\n")[4:])["recipe"], "tokenizer")

    def test_steps_that_come_again_replace_the_old(self):
        self.run_to(3)
        self.assertTrue(self.run_to(STEPS, resume=True))
        # As after a crash: step 4 was told, but the state is of step 3.
        sorted((self.folder / "run" / "checkpoints").glob("*.safetensors"))[-1].unlink()
        self.assertTrue(self.run_to(STEPS, resume=True))
        self.assertEqual(len(list((self.folder / "run").glob("events.*"))), 3)
        steps = [event.step for event in self.opened().Scalars("train/loss")]
        self.assertEqual(steps, list(range(1, STEPS + 1)))


class Curves(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.plot = self.folder / "curves.svg"

    def write(self, name, steps, figures, tail=""):
        """A run whose figure NAME of step s is figures(s)."""
        folder = self.folder / name
        folder.mkdir()
        lines = [json.dumps({"step": s, **figures(s)}) for s in range(1, steps + 1)]
        (folder / "metrics.jsonl").write_text("\n".join(lines) + "\n" + tail)
        return folder

    def drawn(self, *runs):
        done = info("--plot", self.plot, *runs)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return ElementTree.parse(self.plot).getroot()

    def texts(self, root, kind):
        found = root.iter(SVG + "text")
        return [each.text for each in found if each.get("class") == kind]

    def lines(self, root, width):
        """Of all curves drawn with that width: their strokes."""
        found = root.iter(SVG + "path")
        return [each.get("d") for each in found if each.get("stroke-width") == width]

    def test_a_panel_a_figure(self):
        def figures(s):
            out = {"loss": 1 / s, "grad_norm": 2 + s % 3, "block_norms": [1, 2, s], "da": 3}
            if s % 10 == 0:
                out["validation"] = {"loss": 2 / s, "psnr": 20 + s}
            return out

        root = self.drawn(self.write("run", 40, figures))
        self.assertEqual(self.texts(root, "title"), ["loss", "psnr", "block_norms", "grad_norm"])
        self.assertEqual(len(list(root.iter(SVG + "circle"))), 8)
        self.assertEqual(len(self.lines(root, "0.9")), 3)
        self.assertIn("40", self.texts(root, "x"))

    def test_gaps_stay_open_and_a_torn_line_is_passed_over(self):
        run = self.write("run", 30, lambda s: {"loss": None if 9 < s < 15 else s}, '{"step": 31, "lo')
        root = self.drawn(run)
        for stroke in (*self.lines(root, "0.7"), *self.lines(root, "1.6")):
            self.assertEqual(stroke.count("M"), 2)
            self.assertEqual(stroke.count("L"), 30 - 5 - 2)
        (told,) = json.loads(info("--json", run).stdout)
        self.assertEqual(told["step"], 30)

    def test_long_runs_stay_small(self):
        run = self.write("run", 5000, lambda s: {"loss": math.sin(s)})
        self.drawn(run)
        self.assertLess(self.plot.stat().st_size, 40000)

    def test_several_runs_and_odd_names(self):
        runs = [self.write(f"a<&\"'{i}é", 5 + i, lambda s: {"loss": s}) for i in range(9)]
        root = self.drawn(*runs)
        self.assertEqual(len(self.lines(root, "1.6")), 9)
        named = self.texts(root, "run")
        self.assertEqual(len(set(named)), 9)
        self.assertEqual(named, [str(run) for run in runs])
        first = self.plot.read_bytes()
        self.drawn(*runs)
        self.assertEqual(self.plot.read_bytes(), first)

    def test_names_that_are_no_text(self):
        run = self.write("b", 3, lambda s: {"loss": s, "a\u20ac\x01": s})
        name = os.fsencode(self.folder) + b"/b\xed\xa0\x80\xff\xc3"
        os.rename(run, name)
        done = info("--plot", self.plot, os.fsdecode(name))
        self.assertEqual(done.returncode, 0)
        root = ElementTree.parse(self.plot).getroot()
        self.assertEqual(self.texts(root, "run"), [f"{self.folder}/b?????"])
        self.assertEqual(self.texts(root, "title"), ["loss", "a\u20ac?"])

    def test_values_that_never_move_or_never_were(self):
        root = self.drawn(self.write("run", 1, lambda s: {"loss": 3, "psnr": None}))
        self.assertEqual(self.texts(root, "title"), ["loss", "psnr"])

    def test_what_cannot_be_drawn(self):
        run = self.write("run", 3, lambda s: {"loss": s})
        empty = self.write("empty", 0, lambda s: {})
        for status, word, arguments in (
            (2, ".svg", ("--plot", self.folder / "curves.png", run)),
            (1, "no step", ("--plot", self.plot, empty)),
            (1, "metrics.jsonl", ("--plot", self.plot, self.folder)),
            (1, "absent/c.svg", ("--plot", self.folder / "absent" / "c.svg", run)),
        ):
            done = info(*arguments)
            self.assertEqual(done.returncode, status)
            self.assertIn(word, done.stderr)
            self.assertEqual(done.stderr.count("\n"), 1)

    def test_the_summary_in_words(self):
        def figures(s):
            skipped = {"skipped": 1} if s == 2 else {}
            return {"loss": s / 4, "validation": {"psnr": 21.5}, **skipped}

        run = self.write("run", 4, figures)
        (run / "config.json").write_text('{"recipe": "tokenizer", "train": {"steps": 9}}')
        done = info(run)
        for part in ("recipe tokenizer", "step 4 of 9, 1 skipped", "loss 0.625", "psnr 21.5"):
            self.assertIn(part, done.stdout)


if __name__ == "__main__":
    unittest.main()
