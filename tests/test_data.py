"""The data sets, their identities, and the binarization protocols."""

import os
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from training.data import Data, binarize, epoch_of_images, evaluation_batches, load_data, read_amat, training_batches

GENERATOR = np.random.default_rng(2)
GRAY = GENERATOR.integers(0, 256, (2500, 4, 4, 1), "uint8")


def first_batches(data, number, **arguments):
    batches = training_batches(data, **{"binarization": "dynamic", "batch_size": 7, "seed": 3, **arguments})
    return list(batches.take(number).as_numpy_iterator())


def small_data(count=25):
    return Data("small", dict.fromkeys(("train", "validation", "test"), GRAY[:count]), {}, levels=255)


class ProtocolTest(tf.test.TestCase):
    def test_dynamic_is_a_function_of_seed_epoch_and_index(self):
        first = binarize(GRAY, 255, "dynamic", seed=1, epoch=4)
        self.assertAllEqual(first, binarize(GRAY, 255, "dynamic", seed=1, epoch=4))
        # Example i does not depend on how many examples follow it.
        self.assertAllEqual(first[:1300], binarize(GRAY[:1300], 255, "dynamic", seed=1, epoch=4))
        for other in ({"seed": 2, "epoch": 4}, {"seed": 1, "epoch": 5}):
            self.assertNotAllEqual(first, binarize(GRAY, 255, "dynamic", **other))
        self.assertAllEqual(np.unique(first), [0, 1])

    def test_draws_are_bernoulli_with_the_gray_value(self):
        gray = np.tile(np.arange(256, dtype="uint8"), 400).reshape(-1, 16, 16, 1)
        draws = np.stack([binarize(gray, 255, "dynamic", seed=0, epoch=epoch) for epoch in range(5)])
        frequency = draws.reshape(-1, 256).mean(axis=0)
        value = np.arange(256) / 255
        # 2,000 draws of each of 256 gray values: 4.5 standard errors; black and white are certain.
        allowed = 4.5 * np.sqrt(value * (1 - value) / 2000) + 1e-12
        self.assertAllLess(np.abs(frequency - value) - allowed, 0.0)

    def test_draws_of_two_blocks_and_of_two_epochs_are_independent(self):
        gray = np.full((2000, 8, 8, 1), 128, "uint8")
        first, second = (binarize(gray, 255, "dynamic", seed=0, epoch=epoch).astype(float) for epoch in (0, 1))
        for one, other in ((first[:1000], first[1000:]), (first, second)):
            correlation = np.corrcoef(one.ravel(), other.ravel())[0, 1]
            self.assertLess(abs(correlation), 4 / np.sqrt(one.size))

    def test_static_is_drawn_once_and_threshold_not_at_all(self):
        static = binarize(GRAY, 255, "static", seed=1, epoch=0)
        self.assertAllEqual(static, binarize(GRAY, 255, "static", seed=9, epoch=9))
        threshold = binarize(GRAY, 255, "threshold", seed=1, epoch=0)
        self.assertAllEqual(threshold, GRAY / 255 >= 0.5)

    def test_none_leaves_gray_values_as_they_are(self):
        data = small_data()
        self.assertAllEqual(data.examples("test", "none", seed=4, epoch=2), data.gray("test"))
        self.assertEqual(data.gray("test").dtype, np.float32)
        batches = first_batches(data, 4, binarization="none")
        self.assertAllClose(np.sort(np.concatenate(batches), axis=None), np.sort(GRAY[:25] / 255, axis=None))
        self.assertAllEqual(np.concatenate(list(evaluation_batches(data.gray("test")))), data.gray("test"))
        self.assertIsNone(data.identity("test", "none")["binarization_seed"])
        self.assertNotEqual(data.identity("test", "none"), data.identity("test", "threshold"))

    def test_an_epoch_shows_each_example_once_in_an_order_of_its_own(self):
        numbered = np.unpackbits(np.arange(50, dtype="uint8")[:, None], axis=1)[..., None, None]  # 8 pixels: its index
        orders = []
        for epoch in (0, 1):
            shown = epoch_of_images(numbered, 1, "dynamic", 0, epoch).reshape(50, 8)
            orders.append(np.packbits(shown, axis=1).ravel())
            self.assertAllEqual(np.sort(orders[-1]), np.arange(50))
        self.assertNotAllEqual(*orders)

    def test_a_resumed_pipeline_shows_what_the_uninterrupted_one_would_have(self):
        data = small_data()
        batches = first_batches(data, 12)  # four batches an epoch, the last of four images
        self.assertEqual([len(batch) for batch in batches[:4]], [7, 7, 7, 4])
        resumed = first_batches(data, 4, first_epoch=2)
        for expected, found in zip(batches[8:], resumed, strict=True):
            self.assertAllEqual(expected, found)
        # Other batches, the same epoch: batch size changes neither draw nor order.
        whole = first_batches(data, 1, batch_size=25)[0]
        self.assertAllEqual(np.concatenate(batches[:4]), whole)
        self.assertEqual(whole.dtype, np.float32)

    def test_evaluation_batches_keep_the_order(self):
        binary = binarize(GRAY, 255, "dynamic", 0, 0)
        self.assertAllEqual(np.concatenate(list(evaluation_batches(binary).as_numpy_iterator())), binary)

    def test_more_images_in_a_batch_than_there_are_is_refused(self):
        with self.assertRaisesRegex(ValueError, "batch_size is 26, but there are 25"):
            first_batches(small_data(), 1, batch_size=26)


class IdentityTest(tf.test.TestCase):
    def test_identity_names_bytes_split_and_protocol(self):
        data = small_data()
        identity = data.identity("train", "dynamic")
        self.assertEqual((identity["name"], identity["split"], identity["num_examples"]), ("small", "train", 25))
        changed = {"train": GRAY[:25] ^ np.uint8(1)}
        self.assertNotEqual(identity["sha256"], Data("small", changed, {}, 255).identity("train", "dynamic")["sha256"])
        self.assertNotEqual(identity, data.identity("test", "dynamic"))
        self.assertNotEqual(identity, data.identity("train", "threshold"))
        self.assertIsNone(identity["binarization_seed"])  # resampled with the run's own seed
        self.assertEqual(data.identity("test", "dynamic")["binarization_seed"], 0)

    def test_binary_data_are_static_and_nothing_else(self):
        data = Data("binary", dict.fromkeys(("train", "validation", "test"), GRAY[:25] // 128), {}, levels=1)
        self.assertAllEqual(data.examples("test", "static"), GRAY[:25] // 128)
        self.assertIsNone(data.identity("test", "static")["binarization_seed"])
        with self.assertRaisesRegex(ValueError, "binary already; binarization is 'dynamic', static is wanted"):
            data.identity("train", "dynamic")


class SourcesTest(tf.test.TestCase):
    def save(self, name, **arrays):
        path = os.path.join(self.get_temp_dir(), name)
        np.savez(path, **arrays)
        return path

    def assertRefuses(self, source, sentence, path=""):
        with self.assertRaisesRegex(ValueError, sentence) as caught:
            load_data(str(source), str(path))
        self.assertNotIn("\n", str(caught.exception))

    def test_digits_are_cut_without_overlap(self):
        data = load_data("digits")
        self.assertEqual([len(data.images[split]) for split in ("train", "validation", "test")], [1297, 200, 300])
        self.assertEqual(data.event_shape, (8, 8, 1))
        self.assertAllInRange(data.gray("train"), 0.0, 1.0)
        self.assertEqual(data.gray("train").max(), 1.0)
        self.assertLen(np.bincount(data.labels["test"], minlength=10), 10)
        from sklearn.datasets import load_digits

        together = np.concatenate([data.images[split] for split in data.images]).reshape(-1, 64)
        original = load_digits().images.reshape(-1, 64)
        self.assertAllEqual(np.sort(together, axis=0), np.sort(original, axis=0))

    def test_npz_of_images_or_of_splits(self):
        data = load_data(self.save("images.npz", images=GRAY[:100, ..., 0]))
        self.assertEqual([len(images) for images in data.images.values()], [80, 10, 10])
        self.assertEqual((data.event_shape, data.levels), ((4, 4, 1), 255))
        data = load_data(self.save("splits.npz", x_train=GRAY[:50] / 255.0, x_test=GRAY[50:60] / 255.0))
        self.assertEqual([len(images) for images in data.images.values()], [45, 5, 10])
        self.assertAllClose(data.gray("test"), GRAY[50:60] / 255.0)
        splits = {"x_train": GRAY[:5], "x_validation": GRAY[5:8], "x_test": GRAY[8:9]}
        data = load_data(self.save("three.npz", **splits))
        self.assertEqual([len(images) for images in data.images.values()], [5, 3, 1])
        colour = load_data(self.save("colour.npz", images=GENERATOR.random((10, 5, 6, 3)).astype("float32")))
        self.assertEqual(colour.event_shape, (5, 6, 3))

    def test_npz_that_gives_no_images_is_refused(self):
        folder = self.get_temp_dir()
        good = self.save("good.npz", images=GRAY)
        content = Path(good).read_bytes()
        for name, broken in (
            ("empty_file.npz", b""),
            ("text.npz", b"no zip at all"),
            ("truncated.npz", content[: len(content) // 2]),
            ("flipped.npz", content[:900] + bytes([content[900] ^ 1]) + content[901:]),
            ("pickle.npz", b"\x80\x04]\x94(K\x01K\x02e."),  # the list [1, 2], pickled
        ):
            path = os.path.join(folder, name)
            with open(path, "wb") as file:
                file.write(broken)
            self.assertRefuses(path, "cannot be read")
        self.assertRefuses(self.save("objects.npz", images=np.array([None, {}])), "pickled objects")
        self.assertRefuses(self.save("no_arrays.npz"), "is empty")
        self.assertRefuses(self.save("other.npz", y=np.zeros(3)), r"holds \['y'\]; 'images'")
        self.assertRefuses(self.save("none.npz", images=GRAY[:0]), "shape")
        self.assertRefuses(self.save("two.npz", images=GRAY[:2]), "at least 3")
        self.assertRefuses(self.save("flat.npz", images=np.zeros((9, 16), "uint8")), "shape")
        self.assertRefuses(self.save("text_array.npz", images=np.full((9, 2, 2), "a")), "type")
        self.assertRefuses(self.save("wide.npz", images=GRAY * 2.0), r"values in \[0.0, 5")
        self.assertRefuses(self.save("negative.npz", images=GRAY.astype("int16") - 1), "0 to 255")
        self.assertRefuses(self.save("nan.npz", images=np.full((9, 2, 2), np.nan)), "no NaN")
        unlike = {"x_train": GRAY[:9], "x_test": np.zeros((3, 5, 5, 1), "uint8")}
        self.assertRefuses(self.save("unlike.npz", **unlike), "differ in image size")
        self.assertRefuses(os.path.join(folder, "missing.npz"), "There is no file")

    def test_folder_of_images(self):
        folder = Path(self.get_temp_dir()) / "pictures"
        (folder / "inner").mkdir(parents=True)
        for index in range(10):
            place = folder / ("inner" if index % 2 else ".") / f"{index}.png"
            Image.fromarray(GRAY[index, ..., 0]).save(place)
        data = load_data(str(folder))
        self.assertEqual([len(images) for images in data.images.values()], [8, 1, 1])
        found = np.concatenate(list(data.images.values())).reshape(10, 16)
        self.assertAllEqual(np.sort(found, axis=0), np.sort(GRAY[:10].reshape(10, 16), axis=0))

        Image.fromarray(np.zeros((5, 4), "uint8")).save(folder / "z.png")
        self.assertRefuses(folder, "one shape is wanted")
        (folder / "z.png").write_bytes(b"no image")
        self.assertRefuses(folder, "cannot be read as an image")
        empty = Path(self.get_temp_dir()) / "empty"
        empty.mkdir()
        self.assertRefuses(empty, "no images in")

    def test_near_names_are_offered(self):
        self.assertRefuses("fashion_mnsit", "did you mean fashion_mnist")
        self.assertRefuses("what", "There is no data set 'what'; digits")

    def test_amat_files_are_read_as_text(self):
        folder = Path(self.get_temp_dir())
        pixels = GENERATOR.integers(0, 2, (3, 784))
        for name in ("train", "valid", "test"):
            np.savetxt(folder / f"binarized_mnist_{name}.amat", pixels, fmt="%d")
        data = load_data("binarized_mnist", str(folder))
        self.assertAllEqual(data.images["validation"].reshape(3, 784), pixels)
        self.assertEqual(data.levels, 1)
        path = folder / "binarized_mnist_train.amat"
        path.write_text(path.read_text()[:-10])
        with self.assertRaisesRegex(ValueError, "truncated"):
            read_amat(path)
        path.unlink()
        self.assertRefuses("binarized_mnist", "three .amat files", folder)

    def test_fixed_binarized_mnist_from_npz(self):
        pixels = GENERATOR.integers(0, 2, (6, 784), "uint8")
        packed = {f"{name}_packed": np.packbits(pixels, axis=1) for name in ("train", "valid", "test")}
        data = load_data("binarized_mnist", self.save("packed.npz", **packed))
        self.assertAllEqual(data.examples("test", "static").reshape(6, 784), pixels)
        self.assertRefuses(
            "binarized_mnist",
            "holds .'images'.; .'test_packed', 'train_packed', 'valid_packed'. are wanted",
            self.save("x.npz", images=GRAY),
        )
        self.assertRefuses("binarized_mnist", "--data-path", os.path.join(self.get_temp_dir(), "missing.npz"))

    def test_published_pixel_means_of_the_fixed_binarization(self):
        """Where the file lies in Keras' cache: means that its source states."""
        path = Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "datasets/binarized_mnist_larochelle.npz"
        if not path.exists():
            self.skipTest("binarized_mnist_larochelle.npz is not in Keras' cache")
        data = load_data("binarized_mnist", str(path))
        for split, mean in (("train", 0.130562), ("validation", 0.131127), ("test", 0.132512)):
            self.assertAllClose(data.images[split].mean(), mean, atol=1e-6)

    def test_keras_data_sets_are_cut_into_55000_5000_10000(self):
        for name, file in (("mnist", "mnist.npz"), ("fashion_mnist", "fashion-mnist")):
            if not (Path(os.environ.get("KERAS_HOME", Path.home() / ".keras")) / "datasets" / file).exists():
                self.skipTest(f"{file} is not in Keras' cache")
            data = load_data(name)
            self.assertEqual([len(images) for images in data.images.values()], [55_000, 5_000, 10_000])
            self.assertEqual(data.event_shape, (28, 28, 1))
