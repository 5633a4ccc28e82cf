"""What every model of the zoo keeps. A new model joins by one entry in CASES."""

import os

import keras
import numpy as np
import pytest
import tensorflow as tf
from absl.testing import parameterized

import zoo
from export import export_model
from export.uint8_images import with_uint8_images

IMAGES = (np.round(3 * np.random.default_rng(0).random((40, 8, 8, 1)) ** 2) / 3).astype("float32")  # of 4 levels
OUTSIDE = r"numbers in \[0, 1\]|the 4 levels"  # of a refusal
MANY = np.tile(IMAGES, (25, 1, 1, 1))  # the same images, each with noise of its own 25 times

# name of the case, class, non-default arguments; a case of each class
CASES = (
    ("vae", zoo.VAE, {"event_shape": (8, 8, 1), "latent_dim": 3, "hidden": (12, 7), "beta": 2.0, "seed": 5}),
    (
        "supervised_vae",
        zoo.SupervisedVAE,
        {"event_shape": (8, 8, 1), "latent_dim": 2, "num_classes": 4, "hidden": (12, 7), "seed": 3},
    ),
    (
        "semi_supervised_vae",
        zoo.SemiSupervisedVAE,
        {"event_shape": (8, 8, 1), "latent_dim": 2, "num_classes": 3, "alpha": 0.5, "hidden": (12, 7)},
    ),
    (
        "iwae",
        zoo.IWAE,
        {"event_shape": (8, 8, 1), "latent_dim": 3, "num_training_samples": 4, "gradient": "doubly_reparameterized"}
        | {"hidden": (12, 7), "prior": "gaussian_mixture", "num_components": 3, "seed": 5},
    ),
    (
        "hyperspherical_vae",
        zoo.HypersphericalVAE,
        {"event_shape": (8, 8, 1), "latent_dim": 3, "hidden": (12, 7), "beta": 2.0, "warm_up_steps": 3, "seed": 5},
    ),
    (
        "pixel_cnn",
        zoo.PixelCNN,
        {"event_shape": (8, 8, 1), "num_levels": 4, "num_layers": 1, "units": 4, "head": 5, "first_kernel_size": 5}
        | {"kernel_size": 5, "num_classes": 3, "gated": True, "seed": 2},
    ),
    (
        "pixel_rnn",
        zoo.PixelRNN,
        {"event_shape": (8, 8, 1), "cell": "row_lstm", "num_layers": 2, "units": 3, "head": 5, "first_kernel_size": 3}
        | {"num_levels": 4},
    ),
    ("pca", zoo.PCA, {"event_shape": (8, 8, 1), "latent_dim": 3, "whiten": True, "solver": "randomized", "passes": 2}),
    ("kmeans", zoo.KMeans, {"event_shape": (8, 8, 1), "num_clusters": 3, "num_initializations": 2, "seed": 4}),
    (
        "gan",
        zoo.GAN,
        {"event_shape": (8, 8, 1), "latent_dim": 3, "generator_hidden": (12,), "discriminator_hidden": (9, 7)}
        | {"objective": "relativistic", "discriminator_steps": 2, "r1": 0.1, "r2": 0.2, "average_decay": 0.5, "seed": 6}
        | {"initial_stddev": 0.1},
    ),
    (
        "bigan",
        zoo.BiGAN,
        {"event_shape": (8, 8, 1), "latent_dim": 2, "stochastic_encoder": True, "encoder_hidden": (5,), "r1": 0.1}
        | {"generator_hidden": (6,), "discriminator_hidden": (7,)},
    ),
    (
        "unrolled_gan",
        zoo.UnrolledGAN,
        {"event_shape": (8, 8, 1), "latent_dim": 2, "unrolled_steps": 2, "objective": "minimax"}
        | {"generator_hidden": (6,), "discriminator_hidden": (7,)},
    ),
    (
        "veegan",
        zoo.VEEGAN,
        {"event_shape": (8, 8, 1), "latent_dim": 2, "noise_scale": 0.5, "reconstructor_hidden": (5,)}
        | {"generator_hidden": (6,), "discriminator_hidden": (7,), "average_decay": 0.5},
    ),
    (
        "aae",
        zoo.AAE,
        {"event_shape": (8, 8, 1), "latent_dim": 2, "posterior": "universal", "noise_dim": 3, "input_noise": 0.1}
        | {"prior": "gaussian_mixture", "prior_scale": 2.0, "num_components": 4, "hidden": (12, 7), "seed": 5}
        | {"discriminator_hidden": (9,), "initial_stddev": 0.1, "labels_in": "discriminator", "num_classes": 4},
    ),
    (
        "semi_supervised_aae",
        zoo.SemiSupervisedAAE,
        {"event_shape": (8, 8, 1), "num_classes": 4, "latent_dim": 2, "class_noise": 0.1, "hidden": (12,)}
        | {"discriminator_hidden": (9,), "prior_scale": 2.0},
    ),
)
# Other arguments of the same classes, with what depends on them: they save, and leave.
VARIANTS = (
    (
        "pixel_cnn_plain",
        zoo.PixelCNN,
        {"event_shape": (8, 8, 1), "num_levels": 4, "num_layers": 1, "units": 3, "first_kernel_size": 3},
    ),
    (
        "pixel_rnn_diagonal",
        zoo.PixelRNN,
        {"event_shape": (8, 8, 1), "cell": "diagonal_bilstm", "units": 3, "num_levels": 4, "num_classes": 2},
    ),
    (
        "vae_convolutional",
        zoo.VAE,
        {"event_shape": (8, 8, 1), "latent_dim": 2, "network": "convolutional", "hidden": (4, 6), "activation": "elu"}
        | {"binarization": "threshold", "warm_up_steps": 3},
    ),
    (
        "vae_gaussian",
        zoo.VAE,
        {"event_shape": (8, 8, 1), "latent_dim": 2, "network": "convolutional", "hidden": (4, 6)}
        | {"binarization": None, "likelihood": "gaussian"},
    ),
    (
        "vae_gaussian_mixture",
        zoo.VAE,
        {"event_shape": (8, 8, 1), "latent_dim": 3, "hidden": (12,), "prior": "gaussian_mixture", "num_components": 4}
        | {"seed": 2},
    ),
    (
        "vae_vamp",
        zoo.VAE,
        {"event_shape": (8, 8, 1), "latent_dim": 2, "network": "convolutional", "hidden": (4, 6), "prior": "vamp"}
        | {"num_components": 5},
    ),
    (
        "supervised_vae_convolutional",
        zoo.SupervisedVAE,
        {"event_shape": (8, 8, 1), "latent_dim": 2, "num_classes": 3, "network": "convolutional", "hidden": (4, 6)}
        | {"binarization": None, "likelihood": "gaussian"},
    ),
    (
        "gan_convolutional",
        zoo.GAN,
        {"event_shape": (8, 8, 1), "latent_dim": 2, "network": "convolutional", "objective": "wasserstein_gp"}
        | {"generator_hidden": (4, 3), "discriminator_hidden": (3,), "gradient_penalty": 3.0}
        | {"spectral_normalization": True, "batch_normalization": True},
    ),
    (
        "aae_supervised",
        zoo.AAE,
        {"event_shape": (8, 8, 1), "latent_dim": 2, "posterior": "gaussian", "labels_in": "both", "num_classes": 3}
        | {"network": "convolutional", "hidden": (4, 3), "discriminator_hidden": (9,)},
    ),
    (
        "aae_clusters",
        zoo.SemiSupervisedAAE,
        {"event_shape": (8, 8, 1), "num_classes": 4, "latent_dim": 2, "supervised": False, "class_noise": 0.1}
        | {"network": "convolutional", "hidden": (3, 4), "discriminator_hidden": (9,), "prior_scale": 2.0},
    ),
)


SGD = {"class_name": "SGD", "config": {"learning_rate": 1e-3}}
TWO_REPLICAS = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice())


def labels_for(model, count):
    """A label for each of `count` examples, where some may have none -1 for every third; None of a model without."""
    if model.labels is None:
        return None
    labels = np.random.default_rng(1).integers(0, model.labels.num_classes, count)
    if model.labels.some:
        labels[::3] = -1
    return labels


def given(model, images=IMAGES):
    """What `fit` and `evaluate` take of images: these, and labels if the model has any."""
    labels = labels_for(model, len(images))
    return (images,) if labels is None else (images, labels)


def asked(model, images=IMAGES):
    """What `predict` takes of images."""
    return given(model, images) if needs_labels(model) else (images,)


def needs_labels(model):
    """Whether the outputs of the model depend on labels."""
    return model.labels is not None and not model.labels.some


def stream(model, images):
    """A dataset of single examples."""
    arrays = given(model, images)
    return tf.data.Dataset.from_tensor_slices(arrays if len(arrays) > 1 else images)


def compiled(model_class, arguments, optimizer="adam", jit_compile=False, **compile_arguments):
    """In plain graphs, unless a test asks for XLA: it takes minutes over some models, at each size of batch anew."""
    compile_arguments["jit_compile"] = jit_compile
    model = model_class(**arguments)
    if issubclass(model_class, zoo.WithoutGradient):
        model.compile(**compile_arguments)
    elif issubclass(model_class, zoo.Adversarial):
        model.compile(dict.fromkeys(model.players, optimizer), **compile_arguments)
    else:
        model.compile(optimizer, **compile_arguments)
    return model


def fitted(model_class, arguments, images=IMAGES, **compile_arguments):
    keras.utils.set_random_seed(1)
    model = compiled(model_class, arguments, **compile_arguments)
    model.fit(*given(model, images), batch_size=16, epochs=2, verbose=0, shuffle=False)
    return model


def loss_name(model):
    return "d_loss" if isinstance(model, zoo.Adversarial) else "loss"


def loss(model):
    """A loss of the model over enough draws to have little Monte Carlo error."""
    return model.evaluate(*given(model, MANY), batch_size=len(MANY), verbose=0, return_dict=True)[loss_name(model)]


def optimizers(model):
    if isinstance(model, zoo.Adversarial):
        return list(model.optimizers.values())
    return [model.optimizer] if model.optimizer else []


def optimizer_variables(model):
    return [variable for optimizer in optimizers(model) for variable in optimizer.variables]


def values(variables):
    """Name, shape and bytes of each: equal where every bit is."""
    return [(variable.name, tuple(variable.shape), variable.numpy().tobytes()) for variable in variables]


class PyBatches(keras.utils.PyDataset):
    def __init__(self, model):
        super().__init__()
        self.arrays = given(model)

    def __len__(self):
        return 3

    def __getitem__(self, index):
        batch = tuple(array[index * 16 : (index + 1) * 16] for array in self.arrays)
        return batch if len(batch) > 1 else batch[0]


class Contract(tf.test.TestCase, parameterized.TestCase):
    """What the arguments of a model may spoil."""

    def check_round_trip(self, model_class, arguments):
        model = fitted(model_class, arguments, jit_compile="auto")  # as users leave it
        path = os.path.join(self.get_temp_dir(), f"{self.id()}.keras")
        model.save(path)
        loaded = zoo.load(path)

        self.assertEqual(loaded.get_config(), model.get_config())
        for name, value in arguments.items():
            self.assertEqual(model.get_config()[name], value)
        self.assertEqual(values(loaded.weights), values(model.weights))
        self.assertEqual(values(optimizer_variables(loaded)), values(optimizer_variables(model)))
        self.assertEqual(loaded.evaluate(*given(loaded), verbose=0), model.evaluate(*given(model), verbose=0))
        predicted = loaded.predict(*asked(loaded), verbose=0)
        for name, output in model.predict(*asked(model), verbose=0).items():
            self.assertAllEqual(output, predicted[name])

        samples = model.sample(1003, seed=3)  # more than one block, and not a whole number of them
        self.assertEqual(samples.shape, (1003, *model.event_shape))
        self.assertEqual(samples.dtype, np.float32)
        if model.values != "real":
            self.assertAllInRange(samples, 0.0, 1.0)
        self.assertAllEqual(samples, loaded.sample(1003, seed=3))
        self.assertNotAllClose(samples, model.sample(1003, seed=4))
        self.assertNotAllClose(samples[0], samples[1])

        # Training goes on with the same noise, though one of the two has evaluated more: the very same numbers.
        model.evaluate(*given(model), verbose=0)
        history = [each.fit(*given(each), batch_size=16, verbose=0, shuffle=False).history for each in (model, loaded)]
        self.assertEqual(*history)

    def check_export(self, model_class, arguments):
        out = os.path.join(self.get_temp_dir(), "dist", model_class.__name__)
        model = fitted(model_class, arguments)
        export_model(model, out)  # verifies, or raises
        saved_model = tf.saved_model.load(os.path.join(out, "saved_model", "1"))
        self.assertEqual(set(saved_model.signatures), {"serving_default", *with_uint8_images(model.endpoints())})


class ContractTest(Contract):
    def test_every_model_has_a_case(self):
        self.assertEqual({model_class for _, model_class, _ in CASES}, set(zoo.MODELS.values()))

    @parameterized.named_parameters(*CASES)
    def test_round_trip_keeps_config_outputs_samples_optimizer_and_noise(self, model_class, arguments):
        self.check_round_trip(model_class, arguments)

    @parameterized.named_parameters(*CASES)
    @pytest.mark.slow
    def test_fit_evaluate_predict_on_arrays_and_streams(self, model_class, arguments):
        model = compiled(model_class, arguments)
        arrays = [given(model, images) for images in (IMAGES, IMAGES[..., 0].astype("float64"))]
        streams = [(stream(model, IMAGES).batch(16),), (PyBatches(model),)]  # the last batch holds 8
        for data in (*arrays, *streams):
            held_out = data if len(data) > 1 else data[0]
            history = model.fit(*data, validation_data=held_out, epochs=1, verbose=0).history
            self.assertTrue(np.isfinite(list(history.values())).all())
            self.assertIn(f"val_{loss_name(model)}", history)
            logs = model.evaluate(*data, verbose=0, return_dict=True)
            self.assertEqual(logs, model.evaluate(*data, verbose=0, return_dict=True))
            outputs = model.predict(*data if needs_labels(model) else data[:1], verbose=0)
            self.assertEqual({len(output) for output in outputs.values()}, {40})
        labels = IMAGES if model.labels is None else labels_for(model, len(IMAGES))
        model.fit(IMAGES, labels, validation_split=0.2, verbose=0)

    @parameterized.named_parameters(*CASES)
    @pytest.mark.slow
    def test_callbacks_of_keras_work(self, model_class, arguments):
        model = fitted(model_class, arguments)
        folder, smallest = self.get_temp_dir(), {"monitor": f"val_{loss_name(model)}", "mode": "min"}
        callbacks = [
            keras.callbacks.ModelCheckpoint(f"{folder}/best.keras", save_best_only=True, **smallest),
            keras.callbacks.BackupAndRestore(f"{folder}/backup"),
            keras.callbacks.EarlyStopping(patience=2, min_delta=1e6, restore_best_weights=True, **smallest),
            keras.callbacks.CSVLogger(f"{folder}/log.csv"),
            keras.callbacks.TerminateOnNaN(),
        ]
        if model.optimizer:
            callbacks.append(keras.callbacks.ReduceLROnPlateau(patience=1, min_delta=1e6))
            rate = float(model.optimizer.learning_rate)
        data = given(model)
        held_out = data if len(data) > 1 else data[0]
        history = model.fit(*data, validation_data=held_out, epochs=9, callbacks=callbacks, verbose=0).history
        epochs = len(history[loss_name(model)])
        if optimizers(model):
            self.assertEqual(epochs, 3)  # the first, and two without a gain of a million nats
        else:
            self.assertBetween(epochs, 1, 3)  # k-means may have come to its end before
        if model.optimizer:
            self.assertLess(float(model.optimizer.learning_rate), rate)
        self.assertIsInstance(zoo.load(f"{folder}/best.keras"), model_class)

    @parameterized.named_parameters(*CASES)
    @pytest.mark.slow
    def test_jit_compile_gives_the_losses_of_plain_graphs(self, model_class, arguments):
        images = IMAGES[:32]  # whole batches: XLA compiles for each size of batch anew
        plain, by_xla = (fitted(model_class, arguments, images, jit_compile=jit) for jit in (False, True))
        # XLA draws other bits from the same seed; over 1,000 examples the losses agree to a few percent.
        self.assertAllClose(loss(plain), loss(by_xla), rtol=0.05)

    @parameterized.named_parameters(*CASES)
    @pytest.mark.slow
    def test_mixed_bfloat16_trains_with_float32_heads(self, model_class, arguments):
        model = fitted(model_class, {**arguments, "dtype": "mixed_bfloat16"})
        self.assertTrue(np.isfinite(model.evaluate(*given(model), verbose=0)).all())
        for output in model.predict(*asked(model), verbose=0).values():
            self.assertIn(output.dtype, (np.float32, np.float64, np.int64))
        path = os.path.join(self.get_temp_dir(), f"{self.id()}.keras")
        model.save(path)
        self.assertEqual(zoo.load(path).evaluate(*given(model), verbose=0), model.evaluate(*given(model), verbose=0))

    @parameterized.named_parameters(*CASES)
    @pytest.mark.slow
    def test_two_replicas_train_on_noise_of_their_own(self, model_class, arguments):
        """A step on two halves of a batch is the mean of the halves' steps; each half draws its own noise."""
        losses = {}
        for name, scope in (("one", tf.distribute.get_strategy()), ("two", TWO_REPLICAS)):
            with scope.scope():
                keras.utils.set_random_seed(2)
                model = compiled(model_class, arguments, SGD)
            model.fit(stream(model, IMAGES).batch(16), epochs=4, verbose=0)  # the last batch: 8, in halves of 4
            losses[name] = loss(model)
        # Other noise on the second replica: equal to Monte Carlo error. Gradients summed over the replicas, not
        # averaged, would be a learning rate twice as high. A model without gradient draws none: equal to rounding.
        self.assertAllClose(losses["one"], losses["two"], rtol=1e-6 if isinstance(model, zoo.WithoutGradient) else 0.05)

        seeds = TWO_REPLICAS.run(tf.function(model.draw_seed)).values
        self.assertNotAllEqual(seeds[0], seeds[1])

    @parameterized.named_parameters(*CASES)
    def test_exports_with_parity(self, model_class, arguments):
        self.check_export(model_class, arguments)

    @parameterized.named_parameters(*CASES)
    def test_refuses_bad_examples_with_a_sentence(self, model_class, arguments):
        model = fitted(model_class, arguments)
        broken = IMAGES.copy()
        broken[3, 2, 1] = np.nan
        outside_the_interval = (
            (IMAGES * 255, OUTSIDE),
            (-IMAGES, OUTSIDE),
            (stream(model, IMAGES * 255).batch(8), OUTSIDE),
        )
        for bad, sentence in (
            ((IMAGES * 255).astype("uint8"), "uint8; floating-point values are wanted"),
            (stream(model, (IMAGES * 255).astype("uint8")).batch(8), "uint8; floating-point values are wanted"),
            (broken, "emove NaN"),
            (stream(model, broken).batch(8), "emove NaN"),
            (IMAGES[:, :4], r"shape \[40, 4, 8, 1\]"),
            (stream(model, IMAGES), "batch axis is missing"),
            (IMAGES[:0], "0 examples"),
            (IMAGES.tolist(), "came as list"),
            ("images.npz", "came as str"),
            *(outside_the_interval if model.values != "real" else ()),
        ):
            is_array = isinstance(bad, np.ndarray) and model.labels is not None
            data = (bad, labels_for(model, len(bad))) if is_array else (bad,)
            for method in (model.fit, model.evaluate):
                with self.assertRaisesRegex(ValueError, sentence):
                    method(*data, verbose=0)
            with self.assertRaisesRegex(ValueError, sentence):
                model.predict(*data if needs_labels(model) else data[:1], verbose=0)
            with self.assertRaisesRegex(ValueError, sentence):
                model.fit(*given(model), validation_data=data if is_array else bad, verbose=0)

    @parameterized.named_parameters(*CASES)
    def test_refuses_bad_labels_with_a_sentence(self, model_class, arguments):
        model = compiled(model_class, arguments)
        if model.labels is None:
            with self.assertRaisesRegex(ValueError, "labels came"):
                model.sample(2, labels=[0, 1])
            model.fit(IMAGES, np.full(len(IMAGES), 0.5), verbose=0)  # not looked at
            return
        labels, streams = labels_for(model, len(IMAGES)), tf.data.Dataset.from_tensor_slices
        beyond = np.where(np.arange(len(IMAGES)) == 7, model.labels.num_classes, labels)
        below = np.where(np.arange(len(IMAGES)) == 7, -2 if model.labels.some else -1, labels)
        for data, sentence in (
            ((IMAGES,), "Labels are missing"),
            ((streams(IMAGES).batch(8),), "Labels are missing"),
            ((IMAGES, labels[:5]), r"shape \[5\] for 40 examples"),
            ((IMAGES, labels[:, None]), r"shape \[40, 1\] for 40 examples"),
            ((IMAGES, labels.astype("float32")), "float32; whole numbers are wanted"),
            ((streams((IMAGES, labels.astype("float32"))).batch(8),), "float32; whole numbers are wanted"),
            ((IMAGES, beyond), "is wanted for each example"),
            ((IMAGES, below), "is wanted for each example"),
            ((streams((IMAGES, beyond)).batch(8),), "is wanted for each example"),
        ):
            for method in (model.fit, model.evaluate):
                with self.assertRaisesRegex(ValueError, sentence):
                    method(*data, verbose=0)

    def test_load_says_what_is_wrong(self):
        path = os.path.join(self.get_temp_dir(), "other.keras")
        keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)
        with self.assertRaisesRegex(ValueError, "not a model of this zoo"):
            zoo.load(path)
        with self.assertRaisesRegex(ValueError, "There is no file"):
            zoo.load(path + "x")


@pytest.mark.slow
class VariantTest(Contract):
    @parameterized.named_parameters(*VARIANTS)
    def test_round_trip_keeps_config_outputs_samples_optimizer_and_noise(self, model_class, arguments):
        self.check_round_trip(model_class, arguments)

    @parameterized.named_parameters(*VARIANTS)
    def test_exports_with_parity(self, model_class, arguments):
        self.check_export(model_class, arguments)
