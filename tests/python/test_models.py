# SPDX-License-Identifier: Apache-2.0
"""Networks, optimiser and training from Python."""

import json
import math
import unittest
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pumit
from support import TOKENIZER, VIT, Case, sample, write_nifti


class Sac(Case):
    def test_a_point_convolution_is_a_matrix_product(self):
        conv = pumit.SacConv(
            self.context, {"in_channels": 5, "out_channels": 3, "kernel": 1, "stride": 1}
        )
        src = np.random.default_rng(0).normal(size=(2, 2, 3, 4, 5)).astype(np.float32)
        parameters = conv.parameters()
        weight, bias = parameters["weight"].read(), parameters["bias"].read()
        out, spacing, down = conv.forward(pumit.Tensor(self.context, src), (1, 1, 1))
        np.testing.assert_allclose(
            out.numpy(), src @ weight.reshape(3, 5).T + bias, rtol=1e-5, atol=1e-6
        )
        self.assertEqual((spacing, down, conv.kind), ((1, 1, 1), 0, "sac_conv"))

    def test_one_set_of_weights_for_any_spacing(self):
        conv = pumit.SacConv(
            self.context, {"in_channels": 1, "out_channels": 2, "kernel": 4, "stride": 4}
        )
        src = pumit.Tensor(self.context, np.ones((1, 4, 8, 8, 1), np.float32))
        for step, da, depth in ((1, 0, 1), (2, 1, 2), (4, 2, 4)):
            out, after, down = conv.forward(src, (step, 1, 1))
            same, down_da = conv.forward_da(src, da)
            self.assertEqual(out.shape, (1, depth, 2, 2, 2))
            self.assertEqual((after[0], down, down_da), (4, 2, 2))
            np.testing.assert_array_equal(out.numpy(), same.numpy())
        self.assertEqual(conv.forward(src, (math.inf, 1, 1))[1][0], math.inf)


class Models(Case):
    def setUp(self):
        super().setUp()
        self.tokenizer = pumit.Tokenizer(self.context, TOKENIZER)
        self.vit = pumit.Vit(self.context, VIT)
        self.image, self.spacing = self.scan().to_patches(self.vit.patch, self.vit.channels)

    def test_tokenizer(self):
        tokenizer = self.tokenizer
        self.assertEqual((tokenizer.codes, tokenizer.channels, tokenizer.patch), (16, 3, (8, 8, 8)))
        tokens = tokenizer.encode(self.image, self.spacing)
        self.assertEqual(tokens.shape, (1, 4, 4, 3, 16))
        np.testing.assert_allclose(tokens.numpy().sum(-1), 1, rtol=1e-5)
        image = tokenizer.decode(tokens, self.spacing)
        self.assertEqual(image.shape, self.image.shape)
        again = tokenizer.reconstruct(self.image, self.spacing)
        np.testing.assert_allclose(again.numpy(), image.numpy(), atol=1e-6)
        loss, terms = tokenizer.loss(self.image, self.spacing, 0.5, 0.25)
        total = terms.l1 + 0.5 * terms.prior + 0.25 * terms.entropy
        self.assertAlmostEqual(loss.item(), total, places=4)

    def test_vit(self):
        vit = self.vit
        self.assertEqual((vit.dim, vit.channels, vit.patch, vit.kind), (24, 3, (8, 8, 8), "vit"))
        grid = vit.grid(self.image.shape[1:4], self.spacing)
        self.assertEqual(grid, (4, 4, 3))
        hidden = vit.forward(self.image, self.spacing)
        self.assertEqual(hidden.shape, (1, 1 + math.prod(grid), 24))
        embedding = vit.embed(self.scan())
        np.testing.assert_allclose(
            embedding.numpy()[0], hidden.numpy()[0, 1:].mean(0), rtol=1e-4, atol=1e-5
        )
        visible = pumit.random_visible(self.context, 1, math.prod(grid), 0.75, seed=3)
        self.assertEqual((visible.shape, visible.dtype), ((1, 12), "int64"))
        self.assertTrue((np.diff(visible.numpy()) > 0).all())
        predicted = vit.predict(self.image, self.spacing, visible)
        self.assertEqual(predicted.shape, (1, *grid, 16))
        with self.assertRaises(pumit.ShapeError):
            vit.grid((1, 4, 4), self.spacing)

    def test_parameters_by_name(self):
        parameters = self.vit.parameters()
        names = list(parameters)
        self.assertEqual((len(set(names)), len(names)), (len(parameters),) * 2)
        self.assertIn("blocks.1.attn.q_proj.weight", parameters)
        self.assertNotIn("blocks.7.attn.q_proj.weight", parameters)
        self.assertEqual(sum(each.size for each in parameters.values()), self.vit.element_count)
        self.assertEqual(parameters.at(0).shape, parameters[names[0]].shape)
        self.vit.close()
        self.assertEqual(parameters["blocks.0.attn.q_proj.weight"].shape, (24, 24))

    def test_files_come_back(self):
        path = self.folder / "vit.safetensors"
        self.vit.save(path, {"data": "synthetic"})
        self.assertRegex(pumit.model_file_digest(path)["checksum"], "^crc32:[0-9a-f]{8}$")
        info = pumit.model_file_info(path)
        self.assertEqual((info["pumit"]["model"], info["data"]), ("vit", "synthetic"))
        self.assertEqual(info["pumit"]["config"]["dim"], 24)
        loaded = pumit.Vit.load(self.context, path)
        self.assertEqual(loaded.config, self.vit.config)
        wanted = self.vit.embed(self.scan()).numpy()
        np.testing.assert_array_equal(loaded.embed(self.scan()).numpy(), wanted)
        other = pumit.Vit(self.context, {**VIT, "seed": 9})
        self.assertFalse(np.array_equal(other.embed(self.scan()).numpy(), wanted))
        self.assertEqual(other.load_weights(path), len(other.parameters()))
        np.testing.assert_array_equal(other.embed(self.scan()).numpy(), wanted)
        with self.assertRaises(pumit.Error) as raised:
            pumit.Tokenizer.load(self.context, path)
        self.assertIn("vit.safetensors", str(raised.exception))
        path = self.folder / "tokenizer.safetensors"
        self.tokenizer.save(path)
        same = pumit.Tokenizer.load(self.context, path).encode(self.image, self.spacing)
        tokens = self.tokenizer.encode(self.image, self.spacing)
        np.testing.assert_array_equal(same.numpy(), tokens.numpy())

    def test_threads_share_weights(self):
        scan = self.scan()  # read only from here on
        wanted = self.vit.embed(scan).numpy()

        def embed(_number):
            with pumit.Context({"threads": 1}) as context:
                shared = self.vit.share(context)
                with self.assertRaises(pumit.StateError):
                    shared.parameters()["norm.bias"].write(np.zeros(24, np.float32))
                return shared.embed(scan).numpy().copy()

        with ThreadPoolExecutor(4) as pool:
            for embedding in pool.map(embed, range(4)):
                np.testing.assert_allclose(embedding, wanted, rtol=1e-5, atol=1e-6)

    def test_weights_of_others_are_taken(self):
        path = self.folder / "vit.safetensors"
        pumit.Vit(self.context, {**VIT, "seed": 5}).save(path)
        wanted = pumit.Vit.load(self.context, path).embed(self.scan()).numpy()
        self.vit.import_weights(path)
        np.testing.assert_array_equal(self.vit.embed(self.scan()).numpy(), wanted)
        with self.assertRaises(pumit.Error) as raised:
            self.tokenizer.import_weights(path)
        self.assertIn("vit.safetensors", str(raised.exception))
        np.testing.assert_array_equal(self.vit.embed(self.scan()).numpy(), wanted)

    def test_temperature_of_gumbel_tokens_falls(self):
        tokenizer = pumit.Tokenizer(self.context, {**TOKENIZER, "mode": "gumbel"})
        warm = tokenizer.temperature
        tokenizer.set_step(50, 100)
        self.assertLess(tokenizer.temperature, warm)
        self.assertGreater(tokenizer.temperature, 0)

    def test_a_written_parameter_counts(self):
        before = self.vit.embed(self.scan()).read()
        weight = self.vit.parameters()["patch_embed.proj.weight"]
        weight.numpy()[...] *= 2
        weight.touch()
        self.assertFalse(np.allclose(self.vit.embed(self.scan()).read(), before))

    def test_packed_images_are_those_one_by_one(self):
        voxels = np.random.default_rng(1).random((1, 32, 48), np.float32)
        flat = pumit.Volume(self.context, voxels)
        volumes = [self.scan(), flat]
        together = self.vit.embed_packed(volumes).numpy()
        self.assertEqual(together.shape, (2, self.vit.dim))
        for vector, volume in zip(together, volumes):
            np.testing.assert_allclose(vector, self.vit.embed(volume).numpy()[0], atol=1e-5)
        images, spacings, visible, losses = [], [], [], []
        for volume in volumes:
            image, spacing = volume.to_patches(self.vit.patch, self.vit.channels)
            length = math.prod(self.vit.grid(image.shape[1:4], spacing))
            images.append(image)
            spacings.append(spacing)
            visible.append(pumit.random_visible(self.context, 1, length, 0.5, seed=2))
            losses.append(self.vit.mim_loss(self.tokenizer, image, spacing, visible[-1]).item())
        loss = self.vit.mim_loss_packed(self.tokenizer, images, spacings, visible)
        self.assertAlmostEqual(loss.item(), sum(losses) / 2, places=5)
        with self.assertRaises(pumit.InvalidArgumentError):
            self.vit.mim_loss_packed(self.tokenizer, images, spacings[:1], visible)
        shifted = [spacings[0][:2], (*spacings[1], 1.0)]  # six numbers, but not three of each
        with self.assertRaises(IndexError):
            self.vit.mim_loss_packed(self.tokenizer, images, shifted, visible)

    def test_training_lowers_the_loss(self):
        visible = pumit.random_visible(self.context, 1, 48, 0.5, seed=1)

        def loss():
            return self.vit.mim_loss(self.tokenizer, self.image, self.spacing, visible)

        optimizer = pumit.Optimizer(self.vit, {"weight_decay": 0.0, "clip_norm": 1.0})
        weight = self.vit.parameters()["blocks.0.attn.q_proj.weight"]
        self.assertIsNone(weight.grad)
        first = loss()
        first.backward()
        self.assertEqual(weight.grad.shape, weight.shape)
        self.assertGreater(np.abs(weight.grad.read()).max(), 0)
        self.vit.zero_grad()
        self.assertIsNone(weight.grad)
        values = []
        for _ in range(10):
            step = loss()
            step.backward()
            values.append(step.item())
            self.assertGreater(optimizer.step(2e-3), 0)
        self.assertAlmostEqual(values[0], first.item(), places=6)
        self.assertLess(values[-1], values[0] - 0.01)
        self.assertEqual(optimizer.steps, 10)

    def test_classifier(self):
        classifier = pumit.Classifier(self.vit, {"classes": 3})
        self.assertEqual(classifier.classes, 3)
        probabilities = classifier.predict(self.scan())
        np.testing.assert_allclose(probabilities.numpy(), np.full((1, 3), 1 / 3), rtol=1e-6)
        logits = classifier.forward(self.image, self.spacing)
        self.assertEqual(logits.shape, (1, 3))
        loss = classifier.loss(self.image, self.spacing, [2])
        self.assertAlmostEqual(loss.item(), math.log(3), places=5)
        loss.backward()
        pumit.Optimizer(classifier).step(1e-2)
        self.assertGreater(classifier.predict(self.scan()).numpy()[0, 2], 0.34)
        with self.assertRaises(ValueError):
            classifier.loss(self.image, self.spacing, [0, 1])
        self.assertEqual(classifier.vit.dim, 24)
        path = self.folder / "classifier.safetensors"
        classifier.save(path)
        loaded = pumit.Classifier.load(self.context, path)
        np.testing.assert_array_equal(
            loaded.predict(self.scan()).numpy(), classifier.predict(self.scan()).numpy()
        )
        backbone = loaded.vit
        loaded.close()
        self.assertEqual(backbone.forward(self.image, self.spacing).shape, (1, 49, 24))


class Critics(Case):
    def setUp(self):
        super().setUp()
        self.real, self.spacing = self.scan().to_patches((8, 8, 8), 3)
        noise = np.random.default_rng(1).random(self.real.shape).astype(np.float32)
        self.fake = pumit.Tensor(self.context, noise)

    def test_discriminator_learns_to_tell(self):
        critic = pumit.Discriminator(self.context, {"channels": [16, 16]})
        optimizer = pumit.Optimizer(critic)
        losses = []
        for _ in range(5):
            loss = critic.loss(self.real, self.fake, self.spacing)
            losses.append(loss.item())
            loss.backward()
            optimizer.step(1e-3)
        self.assertLess(losses[-1], losses[0])
        scores = critic.forward(self.fake, self.spacing)
        self.assertEqual((scores.ndim, scores.shape[4]), (5, 1))
        term = critic.generator_loss(self.fake, self.spacing)
        self.assertAlmostEqual(term.item(), -scores.numpy().mean(), places=5)
        path = self.folder / "critic.safetensors"
        critic.save(path)
        again = pumit.Discriminator.load(self.context, path).forward(self.fake, self.spacing)
        np.testing.assert_array_equal(again.numpy(), scores.numpy())

    def test_lpips_is_a_distance(self):
        lpips = pumit.Lpips(self.context, {"channels": [8, 8, 8, 8, 8]})
        self.assertEqual(lpips.distance(self.real, self.real).item(), 0)
        there = lpips.distance(self.real, self.fake).item()
        self.assertGreater(there, 0)
        self.assertAlmostEqual(lpips.distance(self.fake, self.real).item(), there, places=5)
        path = self.folder / "lpips.safetensors"
        lpips.save(path)
        again = pumit.Lpips.load(self.context, path).distance(self.real, self.fake)
        self.assertEqual(again.item(), there)


class Segmentation(Case):
    CONFIG = {
        "dim": 16,
        "depth": 4,
        "heads": 2,
        "hidden": 24,
        "patch": [4, 16, 16],
        "out_indexes": [0, 1, 2, 3],
        "channels": [16, 16, 16, 16],
        "full_res_channels": [16, 16, 16],
        "classes": 2,
    }

    def test_a_step_lowers_the_loss(self):
        segmenter = pumit.Segmenter(self.context, self.CONFIG)
        self.assertEqual((segmenter.classes, segmenter.vit.dim), (2, 16))
        size = segmenter.stride()
        axes = np.meshgrid(*(np.linspace(-1, 1, length) for length in size), indexing="ij")
        ball = (sum(axis**2 for axis in axes) < 1)[None]
        image = pumit.Tensor(self.context, np.repeat(ball[..., None], 3, -1).astype(np.float32))
        labels = pumit.Tensor(self.context, ball.astype(np.uint8))
        self.assertEqual(segmenter.forward(image).shape, (1, *size, 2))
        optimizer, losses = pumit.Optimizer(segmenter), []
        for _ in range(4):
            loss = segmenter.loss(image, labels)
            losses.append(loss.item())
            loss.backward()
            optimizer.step(1e-3)
        self.assertLess(losses[-1], losses[0])
        path = self.folder / "segmenter.safetensors"
        segmenter.save(path)
        again = pumit.Segmenter.load(self.context, path)
        np.testing.assert_array_equal(
            again.forward(image).numpy(), segmenter.forward(image).numpy()
        )

    def test_one_serves_every_spacing(self):
        keys = {"patch": [8, 8, 8], "adaptive": True, "full_res_channels": [16, 16]}
        segmenter = pumit.Segmenter(self.context, {**self.CONFIG, **keys})
        self.assertTrue(segmenter.adaptive)
        self.assertFalse(pumit.Segmenter(self.context, self.CONFIG).adaptive)
        for spacing, depth in (((1, 1, 1), 16), ((4, 1, 1), 4), ((math.inf, 1, 1), 1)):
            size = segmenter.stride(spacing)
            self.assertEqual(size, (depth, 16, 16))
            image = pumit.Tensor(self.context, np.ones((1, *size, 3), np.float32))
            labels = pumit.Tensor(self.context, np.ones((1, *size), np.uint8))
            self.assertEqual(segmenter.forward(image, spacing).shape, (1, *size, 2))
            self.assertGreater(segmenter.loss(image, labels, spacing).item(), 0)
        with self.assertRaises(pumit.InvalidArgumentError):
            segmenter.forward(image)


class Training(Case):
    def trainer(self, name, **keys):
        for i in range(3):
            write_nifti(self.folder / f"{i}.nii", sample((24, 24, 4), i), (1, 1, 4))
        images = pumit.Dataset(self.context, [self.folder / f"{i}.nii" for i in range(3)])
        config = {
            "recipe": "tokenizer",
            "output": str(self.folder / name),
            "tokenizer": TOKENIZER,
            "train": {"steps": 3, "batch": 1, "tokens": [1, 2, 2], "warmup": 1, **keys},
        }
        return pumit.Trainer(self.context, images, config)

    def test_a_run_reports_and_leaves_a_model(self):
        seen = []
        trainer = self.trainer("run")
        self.assertTrue(trainer.run(lambda *step: seen.append(step)))
        self.assertEqual([step for step, _, _ in seen], [1, 2, 3])
        self.assertEqual([most for _, most, _ in seen], [3, 3, 3])
        self.assertIsInstance(seen[0][2], dict)
        self.assertEqual(trainer.summary()["steps"], 3)
        self.assertEqual(pumit.Tokenizer.load(self.context, trainer.model_path).codes, 16)
        lines = (self.folder / "run" / "metrics.jsonl").read_text().splitlines()
        self.assertEqual(json.loads(lines[0]), seen[0][2])

    def test_a_run_can_be_stopped(self):
        self.assertFalse(self.trainer("run").run(lambda step, *_: step == 2))

    def test_an_exception_ends_the_run_and_comes_out(self):
        def interrupt(*_):
            raise KeyboardInterrupt

        with self.assertRaises(KeyboardInterrupt):
            self.trainer("run").run(interrupt)

    def test_figures_of_merit(self):
        probabilities = [[0.9, 0.1], [0.4, 0.6], [0.35, 0.65], [0.2, 0.8]]
        scores = pumit.classification_scores(probabilities, [0, 1, 0, 1])
        self.assertEqual((scores.accuracy, scores.auc), (0.75, 0.75))
        with self.assertRaises(ValueError):
            pumit.classification_scores(probabilities, [0, 1])
        truth = [[1, 0], [0, 1], [1, 0], [0, 1]]
        scores = pumit.classification_scores(probabilities, truth, "labels")
        self.assertEqual((scores.accuracy, scores.auc), (0.75, 0.75))
        with self.assertRaises(ValueError):
            pumit.classification_scores(probabilities, truth)
        with self.assertRaises(ValueError):
            pumit.classification_scores(probabilities, truth, "colours")
        report = pumit.classification_report(probabilities, [0, 1, 0, 1], options={"bootstrap": 99})
        self.assertEqual(report["confusion"], [[1, 1], [0, 2]])
        self.assertEqual((report["auc"]["value"], report["bootstrap"]), (0.75, 99))
        self.assertLessEqual(report["auc"]["low"], 0.75)
        self.assertEqual(pumit.cosine_rate(5, 1.0, 100, 10), 0.5)
        self.assertEqual(pumit.cosine_rate(110, 1.0, 100, 10, 0.125), 0.125)


if __name__ == "__main__":
    unittest.main()
