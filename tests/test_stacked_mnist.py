"""The modes of classes on samples with known answers; the study stacked_mnist, end to end, on few small images."""

import io
from contextlib import redirect_stdout
from pathlib import Path
from unittest import mock

import numpy as np
import tensorflow as tf
from PIL import Image

from training.data import SPLITS, Data, load_data
from training.evaluation.modes import modes_of_classes
from training.studies import stacked_mnist


class StackedMNISTTest(tf.test.TestCase):
    def test_modes_of_classes_on_samples_with_known_answers(self):
        found = modes_of_classes(np.array([0, 0, 0, 7]), 10)
        wanted = 0.75 * np.log(0.75 * 10) + 0.25 * np.log(0.25 * 10)
        self.assertEqual((found["modes"], found["num_samples"], found["reverse_kl_floor"]), (2, 4, 9 / 8))
        self.assertAllClose(found["reverse_kl"], wanted, rtol=1e-12)
        self.assertAllClose(modes_of_classes(np.arange(1000), 1000)["reverse_kl"], 0.0, atol=1e-12)
        for classes, sentence in (
            ([10], "from 10 to 10; 0 to 9"),
            ([0.5], "float64"),
            ([], "one"),
        ):
            with self.assertRaisesRegex(ValueError, sentence):
                modes_of_classes(np.array(classes), 10)

    def test_batches_are_triples_of_digits_that_depend_on_seed_and_step_alone(self):
        digits = np.arange(7, dtype="uint8").reshape(7, 1, 1, 1).repeat(2, axis=1)
        first, second = stacked_mnist.stacked_batches(digits, 500, seed=3).take(2)
        again = next(iter(stacked_mnist.stacked_batches(digits, 500, seed=3)))
        other = next(iter(stacked_mnist.stacked_batches(digits, 500, seed=4)))
        self.assertEqual((first.shape, first.dtype), ((500, 2, 1, 3), tf.float32))
        self.assertAllEqual(first, again)
        self.assertNotAllEqual(first, second)
        self.assertNotAllEqual(first, other)
        self.assertAllEqual(first[:, 0], first[:, 1])  # each channel is one digit, whole
        self.assertAllClose(np.unique(first), np.arange(7) / 255)
        shares = np.stack([np.bincount(np.round(255 * first[:, 0, 0, channel]).astype(int)) for channel in range(3)])
        self.assertAllInRange(shares, 30, 120)  # 71 of 500 each, +- 6 standard deviations
        equal = np.mean(first[:, 0, 0, 0] == first[:, 0, 0, 1])  # the channels are independent: 1/7
        self.assertBetween(equal, 0.07, 0.22)

    def few(self):
        """Few and small: what a test sets in the study."""
        digits = load_data("digits").gray("train")[:200]
        images = np.pad(digits.repeat(3, 1).repeat(3, 2), ((0, 0), (2, 2), (2, 2), (0, 0)))
        data = Data("mnist", dict.fromkeys(SPLITS, (255 * images).astype("uint8")), {}, 255)
        return mock.patch.multiple(stacked_mnist, NUM_SAMPLES=60, BATCH=8, TURN=1, load_data=lambda name: data)

    def test_a_run_goes_on_from_its_checkpoint_as_if_it_had_not_stopped(self):
        whole, stopped = (Path(self.get_temp_dir()) / name for name in ("whole", "stopped"))
        arguments = {"methods": ["r3gan"], "iterations": 3, "workers": 0}
        checkpoint = stopped / "r3gan_0.checkpoint.npz"

        def stop_after_the_first_turn(callback, epoch, logs=None, keep=stacked_mnist.Checkpoint.on_epoch_end):
            keep(callback, epoch)
            raise KeyboardInterrupt

        with self.few():
            stacked_mnist.run(whole, **arguments)
            stop = mock.patch.object(stacked_mnist.Checkpoint, "on_epoch_end", stop_after_the_first_turn)
            with stop, self.assertRaises(KeyboardInterrupt):
                stacked_mnist.run(stopped, **arguments)
            self.assertTrue(checkpoint.exists())
            with self.assertRaisesRegex(ValueError, "iterations was 3, now 4"):
                stacked_mnist.run(stopped, **{**arguments, "iterations": 4})
            with mock.patch.object(stacked_mnist.Checkpoint, "on_epoch_end") as ended:
                stacked_mnist.run(stopped, **arguments)
        self.assertEqual([call.args[0] for call in ended.call_args_list], [1, 2])  # it did not begin anew
        self.assertFalse(checkpoint.exists())
        samples = []
        for folder in (whole, stopped):
            with np.load(folder / "r3gan_0.npz", allow_pickle=False) as file:
                samples.append(file["samples"])
        self.assertAllEqual(*samples)

    def test_study_end_to_end_and_resume(self):
        folder = Path(self.get_temp_dir()) / "stacked"
        with self.few():
            arguments = {"methods": ["r3gan", "pacgan3"], "iterations": 2, "workers": 0}
            result = stacked_mnist.run(folder, **arguments)
            self.assertEqual(stacked_mnist.run(folder, **arguments), result)
            with self.assertRaisesRegex(ValueError, "iterations was 2, now 3"):
                stacked_mnist.run(folder, **{**arguments, "iterations": 3})
            with self.assertRaisesRegex(ValueError, "no method 'r3gn'"):
                stacked_mnist.run(folder, methods=["r3gn"])
            with self.assertRaisesRegex(ValueError, "leave --record out"):
                stacked_mnist.run(folder, **arguments, record=folder)
            with redirect_stdout(io.StringIO()) as shown:
                stacked_mnist.show(result)
        self.assertIn("866.6 modes, KL 0.9", shown.getvalue())
        self.assertEqual([row["method"] for row in result["runs"]], ["r3gan", "pacgan3"])
        self.assertEqual(result["settings"]["pacgan3"]["batch_size"], 24)
        for row in (*result["runs"], result["real"]):
            self.assertBetween(row["modes"], 1, 60)
            self.assertEqual(row["num_samples"], 60)
        cells = {row[0]: float(row[3]) for row in list(stacked_mnist.table_rows(result))[1:]}
        above = {row["method"]: row["reverse_kl"] - result["real"]["reverse_kl"] for row in result["runs"]}
        self.assertAllClose(cells, {**above, "real triples": 0.0}, rtol=0, atol=5.1e-4)  # three decimals stand there
        with Image.open(folder / "stacked_mnist.png") as picture:
            self.assertEqual(picture.mode, "RGB")
            self.assertEqual(picture.height // (picture.width // 10), 3)
