"""The unrolled generator loss against NumPy in float64, its gradient against finite differences of that."""

import doctest
import sys

import keras
import numpy as np
import tensorflow as tf
from absl.testing import parameterized

import zoo

GENERATOR = np.random.default_rng(13)
POINTS = (1.0 + GENERATOR.normal(size=(8, 3))).astype("float32")
CODES = GENERATOR.normal(size=(8, 2)).astype("float32")

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.5),
    "sgd_schedule": lambda: keras.optimizers.SGD(keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.7)),
    "adam": lambda: keras.optimizers.Adam(0.05, beta_1=0.5, beta_2=0.9),
    "adam_schedule": lambda: keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(0.05, 9)),
}
RATES = {  # of step t = 0, 1, ...
    "sgd": lambda t: 0.5,
    "sgd_schedule": lambda t: 0.5 * 0.7**t,
    "adam": lambda t: 0.05,
    "adam_schedule": lambda t: 0.05 * 0.5 * (1 + np.cos(np.pi * t / 9)),
}
BETAS = {"adam": (0.5, 0.9), "adam_schedule": (0.9, 0.999)}
CASES = [
    (f"{name}_{objective}_{steps}", name, objective, steps)
    for name, objective, steps in (
        ("sgd", "non_saturating", 3),
        ("sgd", "minimax", 2),
        ("sgd_schedule", "non_saturating", 3),
        ("adam", "non_saturating", 3),
        ("adam", "minimax", 2),
        ("adam_schedule", "minimax", 3),
        ("adam", "minimax", 0),
    )
]


def small_gan(optimizer="sgd", real_steps=2, model_class=zoo.UnrolledGAN, **arguments):
    """After `real_steps` of the discriminator, so that the moments of its optimizer and its count are not zero."""
    keras.utils.set_random_seed(5)
    generator = np.random.default_rng(6)
    hidden = {"generator_hidden": (4,), "discriminator_hidden": (5,), "activation": "tanh"}
    gan = model_class(**{"event_shape": (3,), "latent_dim": 2, **hidden, **arguments})
    for variable in gan.trainable_variables:
        variable.assign_add(0.5 * generator.standard_normal(variable.shape))
    gan.compile({"generator": keras.optimizers.SGD(0.1), "discriminator": OPTIMIZERS[optimizer]()})
    for _ in range(real_steps):
        gan.minimize("discriminator", lambda: gan.discriminator_loss(POINTS, CODES))
    return gan


def gradients(loss, variables):
    with tf.GradientTape() as tape:
        value = loss()
    return [each.numpy() for each in tape.gradient(value, [variable.value for variable in variables])]


# The same in NumPy: networks of one hidden layer of tanh, the discriminator's gradient by hand.


def forward(weights, x):
    hidden = np.tanh(x @ weights[0] + weights[1])
    return hidden, hidden @ weights[2] + weights[3]


def backward(weights, x, hidden, to_logits):
    to_hidden = (to_logits @ weights[2].T) * (1 - hidden**2)
    return [x.T @ to_hidden, to_hidden.sum(0), hidden.T @ to_logits, to_logits.sum(0)]


def discriminator_gradient(weights, real, fake):
    """Of the mean of softplus(-D(real)) + softplus(D(fake))."""
    total = [0.0] * 4
    for x, sign in ((real, -1.0), (fake, 1.0)):
        hidden, logits = forward(weights, x)
        to_logits = sign / (1 + np.exp(-sign * logits)) / len(x)
        total = [a + b for a, b in zip(total, backward(weights, x, hidden, to_logits), strict=True)]
    return total


def unrolled_loss(generator, discriminator, name, objective, steps, moments, taken):
    """f_K of Metz et al.; `taken` steps lie behind the optimizer, which have left it its `moments`."""
    _, fake = forward(generator, CODES)
    weights, (m, v) = discriminator, moments
    for t in range(taken, taken + steps):
        g = discriminator_gradient(weights, POINTS, fake)
        if name in BETAS:
            b1, b2 = BETAS[name]
            m = [b1 * a + (1 - b1) * b for a, b in zip(m, g, strict=True)]
            v = [b2 * a + (1 - b2) * b**2 for a, b in zip(v, g, strict=True)]
            m_hat = [a / (1 - b1 ** (t + 1)) for a in m]
            v_hat = [a / (1 - b2 ** (t + 1)) for a in v]
            # Keras adds epsilon before the correction of v; it is 1e-7 beside numbers near 1e-2.
            g = [a / (np.sqrt(b) + 1e-7) for a, b in zip(m_hat, v_hat, strict=True)]
        weights = [a - RATES[name](t) * b for a, b in zip(weights, g, strict=True)]
    _, real_logits = forward(weights, POINTS)
    _, fake_logits = forward(weights, fake)
    if objective == "non_saturating":
        return np.mean(np.logaddexp(0, -fake_logits))
    return -np.mean(np.logaddexp(0, -real_logits) + np.logaddexp(0, fake_logits))


def loss_in_numpy(gan, name):
    """The unrolled loss of `gan` as it stands, as a function of its generator's weights."""
    discriminator = [weight.astype("float64") for weight in gan.discriminator.get_weights()]
    optimizer = gan.optimizers["discriminator"]
    moments = ([0.0] * 4, [0.0] * 4)
    if name in BETAS:
        state = {variable.path: variable.numpy().astype("float64") for variable in optimizer.variables}
        moments = ([a for p, a in state.items() if "momentum" in p], [a for p, a in state.items() if "velocity" in p])
    rest = (discriminator, name, gan.objective, gan.unrolled_steps, moments, int(optimizer.iterations))
    return lambda weights: unrolled_loss(weights, *rest)


def finite_differences(function, weights, step=1e-5):
    """Central, in float64: the error is near 1e-10."""
    slopes = [np.zeros_like(weight) for weight in weights]
    for weight, slope in zip(weights, slopes, strict=True):
        for index in np.ndindex(weight.shape):
            center = weight[index]
            weight[index] = center + step
            above = function(weights)
            weight[index] = center - step
            slope[index] = (above - function(weights)) / (2 * step)
            weight[index] = center
    return slopes


class UnrolledLossTest(tf.test.TestCase, parameterized.TestCase):
    @parameterized.named_parameters(*CASES)
    def test_loss_and_gradient_are_those_of_numpy_and_its_finite_differences(self, name, objective, steps):
        gan = small_gan(name, objective=objective, unrolled_steps=steps)
        function = loss_in_numpy(gan, name)
        weights = [weight.astype("float64") for weight in gan.generator.get_weights()]
        # Some tens of float32 operations in a row, each of 6e-8; Adam divides by gradients near 1e-2.
        self.assertAllClose(gan.generator_loss(POINTS, CODES), function(weights), rtol=2e-5)
        ours = gradients(lambda: gan.generator_loss(POINTS, CODES), gan.trained_by("generator"))
        for gradient, expected in zip(ours, finite_differences(function, weights), strict=True):
            self.assertAllClose(gradient, expected, rtol=2e-4, atol=2e-5)

    @parameterized.parameters(*OPTIMIZERS)
    def test_virtual_steps_are_those_the_optimizer_would_take(self, name):
        gan = small_gan(name, unrolled_steps=4)
        real, fake = gan.judged_real(POINTS, True), gan.judged_fake(CODES, True)
        virtual = gan.unrolled_discriminator(real, fake)
        for _ in range(4):
            gan.minimize("discriminator", lambda: gan.discriminator_loss(POINTS, CODES))
        for value, variable in zip(virtual, gan.trained_by("discriminator"), strict=True):
            self.assertAllClose(value, variable, rtol=1e-5, atol=1e-6)  # the same operations, in another order

    @parameterized.parameters("sgd", "adam")
    def test_the_gradient_flows_through_the_steps(self, name):
        """A constant D^K, the mistake that this model invites, gives the same loss and another gradient."""
        gan = small_gan(name, objective="minimax", unrolled_steps=3)
        through = gradients(lambda: gan.generator_loss(POINTS, CODES), gan.trained_by("generator"))
        loss = gan.generator_loss(POINTS, CODES)
        unrolled = gan.unrolled_discriminator
        gan.unrolled_discriminator = lambda real, fake: [tf.stop_gradient(each) for each in unrolled(real, fake)]
        self.assertAllEqual(gan.generator_loss(POINTS, CODES), loss)
        stopped = gradients(lambda: gan.generator_loss(POINTS, CODES), gan.trained_by("generator"))
        difference = np.sqrt(sum(np.sum((a - b) ** 2) for a, b in zip(through, stopped, strict=True)))
        self.assertGreater(difference, 0.01 * np.sqrt(sum(np.sum(a**2) for a in through)))

    @parameterized.parameters("non_saturating", "hinge", "relativistic", "minimax")
    def test_no_steps_are_the_gan(self, objective):
        unrolled = small_gan(objective=objective, unrolled_steps=0)
        plain = small_gan(objective=objective, model_class=zoo.GAN)
        plain.set_weights(unrolled.get_weights())
        losses = [(gan, lambda gan=gan: gan.generator_loss(POINTS, CODES)) for gan in (unrolled, plain)]
        if objective != "minimax":  # whose loss here holds the term of real examples, which D^0 makes a constant
            self.assertAllEqual(losses[0][1](), losses[1][1]())
        for ours, its in zip(*(gradients(loss, gan.trained_by("generator")) for gan, loss in losses), strict=True):
            self.assertAllEqual(ours, its)

    def test_adam_goes_on_where_a_gradient_has_always_been_zero(self):
        """A dead unit: v = 0, where the square root has no slope."""
        gan = small_gan("adam", real_steps=0, unrolled_steps=3, activation="relu")
        bias = gan.discriminator.get_layer("hidden_1").bias
        bias.assign(tf.constant([-1e3, -1e3, 1.0, 1.0, 1.0]))
        loss = gradients(lambda: gan.generator_loss(POINTS, CODES), gan.trained_by("generator"))
        for gradient in loss:
            self.assertAllEqual(np.isfinite(gradient), np.ones(gradient.shape, bool))
        self.assertGreater(np.abs(loss[0]).max(), 0.0)


class TrainingTest(tf.test.TestCase, parameterized.TestCase):
    def test_the_discriminator_takes_its_real_steps_alone(self):
        gan = small_gan("adam", real_steps=0, unrolled_steps=3, r1=0.1)
        discriminator = gan.discriminator.get_weights()
        state = [variable.numpy() for variable in gan.optimizers["discriminator"].variables]
        d_loss = gan.d_loss.count.numpy()
        generator = gan.generator.get_weights()
        gan.step_generator(tf.constant(POINTS))
        self.assertAllEqual(gan.discriminator.get_weights()[0], discriminator[0])
        self.assertAllEqual(gan.discriminator.get_weights()[3], discriminator[3])
        for before, variable in zip(state, gan.optimizers["discriminator"].variables, strict=True):
            self.assertAllEqual(before, variable)
        self.assertEqual(gan.d_loss.count.numpy(), d_loss)  # the metrics tell of real steps
        self.assertNotAllEqual(gan.generator.get_weights()[0], generator[0])
        gan.fit(POINTS, batch_size=8, verbose=0)
        self.assertEqual(int(gan.optimizers["discriminator"].iterations), 1)

    def test_virtual_steps_draw_noise_of_their_own(self):
        """Where the slope is penalized; or the next step would draw the same once more."""
        gan = small_gan("adam", objective="wasserstein_gp", unrolled_steps=3)
        before = int(gan.draws.numpy())
        gan.generator_loss(POINTS, CODES)
        self.assertEqual(int(gan.draws.numpy()) - before, 3)

    def test_virtual_steps_clip_the_weights_as_real_ones_do(self):
        gan = small_gan("sgd", objective="wasserstein", unrolled_steps=2, clip=0.3)
        for value in gan.unrolled_discriminator(gan.judged_real(POINTS, True), gan.judged_fake(CODES, True)):
            self.assertAllInRange(value, -0.3, 0.3)

    @parameterized.parameters("sgd", "adam")
    def test_two_replicas_unroll_the_step_of_the_whole_batch(self, name):
        one = small_gan(name, unrolled_steps=2)
        expected = gradients(lambda: one.generator_loss(POINTS, CODES), one.trained_by("generator"))
        strategy = tf.distribute.MirroredStrategy(
            ["CPU:0", "CPU:1"], cross_device_ops=tf.distribute.ReductionToOneDevice()
        )
        with strategy.scope():
            two = small_gan(name, real_steps=0, unrolled_steps=2)
            two.set_weights(one.get_weights())
            optimizers = [gan.optimizers["discriminator"].variables for gan in (one, two)]
            for source, target in zip(*optimizers, strict=True):
                target.assign(source)

        @tf.function
        def on_a_half():
            start = 4 * tf.distribute.get_replica_context().replica_id_in_sync_group
            real, z = (tf.constant(each)[start : start + 4] for each in (POINTS, CODES))
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                variables = [variable.value for variable in two.trained_by("generator")]
                tape.watch(variables)
                loss = two.generator_loss(real, z)
            return tape.gradient(loss, variables)

        for gradient, whole in zip(strategy.run(on_a_half), expected, strict=True):
            self.assertAllClose(sum(gradient.values), whole, rtol=1e-4, atol=1e-6)


class ArgumentsTest(tf.test.TestCase):
    def test_the_example_in_the_docstring_runs(self):
        outcome = doctest.testmod(sys.modules["zoo.unrolled_gan"], extraglobs={"np": np})
        self.assertEqual((outcome.failed, outcome.attempted), (0, 5))

    def test_bad_arguments_are_refused_by_name(self):
        for name, bad in (("unrolled_steps", -1), ("unrolled_steps", 1.5), ("latent_dim", 0), ("objective", "none")):
            with self.assertRaisesRegex(ValueError, name):
                zoo.UnrolledGAN(**{"event_shape": (3,), "latent_dim": 2, name: bad})

    def test_optimizers_whose_steps_it_does_not_know_are_refused(self):
        adam, sgd = keras.optimizers.Adam, keras.optimizers.SGD
        for optimizer, sentence in (
            ("rmsprop", "RMSprop, whose steps cannot be unrolled"),
            (keras.optimizers.AdamW(), "AdamW"),
            (sgd(0.1, momentum=0.9), "SGD with momentum=0.9"),
            (adam(amsgrad=True), "amsgrad=True"),
            (adam(clipnorm=1.0), "clipnorm=1.0"),
            (adam(weight_decay=0.01), "weight_decay=0.01"),
            (adam(use_ema=True), "use_ema=True"),
            (adam(gradient_accumulation_steps=2), "gradient_accumulation_steps=2"),
            (keras.optimizers.LossScaleOptimizer(adam()), "LossScaleOptimizer"),
        ):
            gan = zoo.UnrolledGAN((3,), 2, unrolled_steps=1)
            with self.assertRaisesRegex(ValueError, sentence):
                gan.compile({"generator": "adam", "discriminator": optimizer})
        zoo.UnrolledGAN((3,), 2, unrolled_steps=0).compile({"generator": "adam", "discriminator": "rmsprop"})
