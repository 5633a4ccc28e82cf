"""`generate_uint8`: what the model draws from the same noise, as 8-bit RGB images with the channels first."""

from pathlib import Path

import numpy as np
import onnxruntime
import tensorflow as tf
from absl.testing import parameterized
from scipy.stats import norm

import zoo
from export import export_model, uint8_images


class Uint8Test(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(
        ("gan", zoo.GAN, {"generator_hidden": (6,), "discriminator_hidden": (7,)}, "generate", 2),
        (
            "mixture_and_labels",
            zoo.AAE,
            {"prior": "gaussian_mixture", "num_components": 4, "labels_in": "decoder", "num_classes": 3},
            "generate",
            3,
        ),
        ("prior_trained", zoo.VAE, {"prior": "vamp", "num_components": 5, "hidden": (6,)}, "generate", 3),
        ("decoder", zoo.VAE, {"hidden": (6,)}, "decode", 2),
    )
    def test_equals_the_rounded_images_of_the_same_noise(self, model_class, arguments, name, size):
        model = model_class(event_shape=(4, 5, 1), latent_dim=2, **arguments)
        endpoints = uint8_images.with_uint8_images(model.endpoints())
        endpoint, uint8 = endpoints[name], endpoints["generate_uint8"]
        self.assertEqual(next(iter(uint8.inputs)), "noise")
        self.assertEqual(uint8.inputs["noise"].shape, ("batch", size))

        noise = np.random.default_rng(0).standard_normal((30, size)).astype("float32")
        first, *others = endpoint.inputs  # the codes, then the uniform noise that picks a component, then labels
        labels = {"labels": np.arange(30) % 3} if "labels" in others else {}
        uniform = {"uniform": norm.cdf(noise[:, 2]).astype("float32")} if "uniform" in others else {}
        images = next(iter(endpoint.function(**{first: noise[:, :2]}, **uniform, **labels).values()))
        found = uint8.function(noise=tf.constant(noise), **labels)["images"].numpy()
        self.assertEqual((found.shape, found.dtype), ((30, 3, 4, 5), "uint8"))
        for channel in range(3):
            # half a level of rounding, and what float32 adds to it
            self.assertAllClose(found[:, channel], 255.0 * images[..., 0], rtol=0.0, atol=0.5001)

    def test_pixel_by_pixel_from_uniform_noise(self):
        model = zoo.PixelCNN(event_shape=(4, 5, 1), num_levels=4, num_layers=1, units=3, first_kernel_size=3)
        endpoints = uint8_images.with_uint8_images(model.endpoints())
        uint8 = endpoints["generate_uint8"]
        self.assertEqual((uint8.inputs["noise"].shape, uint8.inputs["noise"].values), (("batch", 20), "uniform"))
        noise = np.random.default_rng(0).random((7, 20), dtype="float32")
        images = endpoints["sample"].function(noise=tf.constant(noise.reshape(7, 4, 5, 1)))["images"]
        self.assertAllEqual(uint8.function(noise=tf.constant(noise))["images"][:, 1], np.round(255 * images[..., 0]))

    def test_uniform_noise_stays_below_1(self):
        drawn = uint8_images.uniform_of(tf.constant([-20.0, 0.0, 20.0])).numpy()
        self.assertAllEqual(drawn[:2], [0.0, 0.5])
        self.assertBetween(drawn[2], 0.999999, np.nextafter(np.float32(1), np.float32(0)))

    def test_models_of_points_have_none(self):
        for model in (zoo.GAN(event_shape=(2,), latent_dim=2), zoo.VAE(event_shape=(4, 4, 2), latent_dim=2)):
            self.assertNotIn("generate_uint8", uint8_images.with_uint8_images(model.endpoints()))

    def test_the_artifact_of_colour_images(self):
        """Three channels keep their order, in ONNX as in the SavedModel."""
        folder = Path(self.get_temp_dir()) / "artifact"
        model = zoo.VAE(event_shape=(4, 5, 3), latent_dim=2, hidden=(6,), binarization=None, likelihood="gaussian")
        export_model(model, folder)
        self.assertIn("8 bits", (folder / "README.md").read_text())
        noise = np.random.default_rng(0).standard_normal((9, 2)).astype("float32")
        decode, generate = (
            onnxruntime.InferenceSession(folder / "onnx" / f"{name}.onnx") for name in ("decode", "generate_uint8")
        )
        mean = decode.run(["mean"], {"z": noise})[0]
        expected = 255.0 * np.clip(mean.transpose(0, 3, 1, 2), 0.0, 1.0)
        signature = tf.saved_model.load(str(folder / "saved_model" / "1")).signatures["generate_uint8"]
        in_onnx = generate.run(None, {"noise": noise})[0]
        for images in (in_onnx, signature(noise=tf.constant(noise))["images"].numpy()):
            self.assertEqual((images.shape, images.dtype), ((9, 3, 4, 5), "uint8"))
            self.assertAllClose(images, expected, rtol=0.0, atol=0.5001)
        self.assertGreater(np.ptp(in_onnx, axis=1).max(), 5)  # the channels differ
