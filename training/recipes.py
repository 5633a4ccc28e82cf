"""The recipes: name -> exactly what produced each number in results/."""

import dataclasses

from training.data import near
from training.recipe import Recipe

# Davidson et al. 2018: 784-256-128-d, ReLU, mirrored; dynamic MNIST; batch 64; Adam 1e-3; KL warm-up over 100 epochs;
# early stopping with a look-ahead of 50; log-likelihood by 500 importance samples.
VAE_MNIST = Recipe(
    name="vae_mnist",
    summary="VAE on dynamically binarized MNIST, 10 latent dimensions (Davidson et al. 2018)",
    model="VAE",
    data="mnist",
    epochs=1000,
    warm_up_epochs=100,
    patience=50,
)

# The data, the sizes and the pseudo-inputs of Tomczak and Welling 2018, in plain ReLU layers instead of gated ones and
# in few epochs. `patience` never ends it: all epochs are run, and the best one is kept.
VAE_BINARIZED_MNIST = Recipe(
    name="vae_binarized_mnist",
    summary="VAE on the fixed binarized MNIST, 40 latent dimensions; stands beside vampprior_binarized_mnist",
    model="VAE",
    data="binarized_mnist",
    binarization="static",
    latent_dim=40,
    hidden=(300, 300),
    epochs=100,
    warm_up_epochs=20,
    patience=100,
    batch_size=100,
    decay=True,
    num_importance_samples=1000,
)

PCA_MNIST = Recipe(
    name="pca_mnist",
    summary="PCA of gray MNIST, 50 whitened components; its exact likelihood as a Gaussian",
    model="PCA",
    data="mnist",
    binarization="none",
    latent_dim=50,
    whiten=True,
)

KMEANS_MNIST = Recipe(
    name="kmeans_mnist",
    summary="k-means of gray MNIST, 100 clusters, the best of 5 runs; stops when no assignment changes",
    model="KMeans",
    data="mnist",
    binarization="none",
    num_clusters=100,
    num_initializations=5,
    epochs=300,
)

# Huang et al. 2024 (R3GAN): the relativistic objective with R1 and R2, Adam without momentum, an averaged generator.
GAN_RING = Recipe(
    name="gan_ring",
    summary="GAN (R3GAN) of 8 Gaussians on a ring: does it find every mode?",
    model="GAN",
    data="ring",
    binarization="none",
    latent_dim=2,
    activation="leaky_relu",
    objective="relativistic",
    r1=0.1,
    r2=0.1,
    average_decay=0.999,
    beta_1=0.0,
    beta_2=0.99,
    decay=True,
    batch_size=250,
    epochs=60,
)

GAN_DIGITS = dataclasses.replace(
    GAN_RING,
    name="gan_digits",
    summary="GAN (R3GAN) of the digits, dense: less than a minute",
    data="digits",
    latent_dim=16,
    average_decay=0.99,
    batch_size=32,
    epochs=60,
)

VAE_DIGITS = Recipe(
    name="vae_digits",
    summary="VAE on scikit-learn's 8x8 digits: nothing to download, one minute",
    model="VAE",
    hidden=(128, 64),
    latent_dim=8,
    epochs=150,
    warm_up_epochs=20,
    batch_size=32,
)

AAE_DIGITS = Recipe(
    name="aae_digits",
    summary="AAE of the digits, dense: less than a minute",
    model="AAE",
    binarization="none",
    hidden=(128, 64),
    discriminator_hidden=(128, 64),
    latent_dim=4,
    epochs=80,
    batch_size=64,
)

# Makhzani et al. 2015, appendix A.1: 784-1000-1000-8, mirrored; a discriminator of 1000-1000; prior N(0, 5^2 I); by
# Adam instead of SGD.
AAE_MNIST = Recipe(
    name="aae_mnist",
    summary="AAE of gray MNIST, 8 latent dimensions, prior N(0, 5^2 I) (Makhzani et al. 2015)",
    model="AAE",
    data="mnist",
    binarization="none",
    latent_dim=8,
    prior_scale=5.0,
    hidden=(1000, 1000),
    discriminator_hidden=(1000, 1000),
    epochs=20,
    batch_size=100,
    discriminator_learning_rate=2e-4,
    beta_1=0.5,
    decay=True,
)

# Makhzani et al. 2015, appendix A.2: z of 10 dimensions, noise of 0.3 on the input; in half the units a layer, by Adam,
# and in few of its 5,000 epochs.
SEMI_SUPERVISED_AAE_MNIST = dataclasses.replace(
    AAE_MNIST,
    name="semi_supervised_aae_mnist",
    summary="semi-supervised AAE of gray MNIST, 1,000 labels (Makhzani et al. 2015)",
    model="SemiSupervisedAAE",
    latent_dim=10,
    prior_scale=1.0,
    hidden=(500, 500),
    discriminator_hidden=(500, 500),
    input_noise=0.3,
    epochs=40,
    batch_size=120,
    num_labels=1000,
    labels_per_batch=20,
)

# Kingma et al. 2014: 784-500-50, mirrored; alpha = 0.1; uniform p(y); by Keras' Adam, at a high rate that falls: after
# 11 epochs the classifier is right on 88 % of the validation images, at the usual 1e-3 on 80 %.
SEMI_SUPERVISED_VAE_MNIST = Recipe(
    name="semi_supervised_vae_mnist",
    summary="semi-supervised VAE (M2) of dynamically binarized MNIST, 1,000 labels (Kingma et al. 2014)",
    model="SemiSupervisedVAE",
    data="mnist",
    latent_dim=50,
    hidden=(500,),
    epochs=100,
    patience=100,
    batch_size=200,
    learning_rate=4e-3,
    decay=True,
    num_labels=1000,
    labels_per_batch=10,
    num_importance_samples=50,  # of every class
    jit=False,  # the sum over the classes is one large product, which a plain graph does faster
)

# Of 100 labels, 16 in each batch; every epoch shows all examples without labels as well.
FEW_LABELS = {"num_labels": 100, "labels_per_batch": 16, "batch_size": 64}

# Burda et al. 2015: 784-200-200-50, tanh, mirrored; dynamic MNIST; batch 20; Adam with beta_1 = 0.99, epsilon = 1e-4;
# 3,280 epochs in 8 stages; log-likelihood by 5,000 importance samples. With k = 1, 5, 50: -86.76, -85.54, -84.78.
IWAE_MNIST_K1 = Recipe(
    name="iwae_mnist_k1",
    summary="IWAE, 1 sample, on dynamic MNIST by the schedule of Burda et al. 2015, 3280 epochs: half a day",
    model="IWAE",
    data="mnist",
    latent_dim=50,
    hidden=(200, 200),
    activation="tanh",
    num_training_samples=1,
    epochs=3280,
    batch_size=20,
    beta_1=0.99,
    epsilon=1e-4,
    stages=True,
    num_importance_samples=5000,
)

# The same model within an hour on two cores: Keras' own Adam, and a cosine over the epochs that fit.
IWAE_MNIST_K1_SHORT = dataclasses.replace(
    IWAE_MNIST_K1,
    name="iwae_mnist_k1_short",
    summary="IWAE, 1 sample, which is the VAE, on dynamic MNIST: the model of Burda et al. 2015 within an hour",
    epochs=400,
    batch_size=100,
    beta_1=0.9,
    epsilon=1e-7,
    stages=False,
    decay=True,
)

# Of more samples, by the gradient with less noise, which bears a higher rate: after 10 epochs of 5 samples the bound
# stands at 104.9 nats by the straight one at 1e-3, at 99.7 by this one at 2e-3.
IWAE_MNIST_K5_SHORT = dataclasses.replace(
    IWAE_MNIST_K1_SHORT,
    name="iwae_mnist_k5_short",
    summary="IWAE, 5 samples, on dynamic MNIST: the model of Burda et al. 2015 within an hour",
    num_training_samples=5,
    gradient="doubly_reparameterized",
    epochs=280,
    learning_rate=2e-3,
)

# van den Oord et al. 2016a, table 4: fixed binarization, 1 layer of h = 32, batch 16. Adam along a cosine, the norm
# of its gradient clipped, instead of RMSProp until nothing more is gained. The short forms fit two hours on two cores.
DIAGONAL_BILSTM_BINARIZED_MNIST = Recipe(
    name="diagonal_bilstm_binarized_mnist",
    summary="PixelRNN, Diagonal BiLSTM, of the fixed binarized MNIST (van den Oord et al. 2016)",
    model="PixelRNN",
    data="binarized_mnist",
    binarization="static",
    units=32,
    epochs=100,
    patience=25,
    batch_size=16,
    learning_rate=4e-3,
    clip_norm=1.0,
    decay=True,
)

# Kernels of 7 x 7 are worth their price, and depth more than width. After 200 s of one core, validation nats: the plain
# one, along a whole cosine, 12 blocks of h = 16 86.9, 8 blocks 87.5, 4 blocks 88.3, 12 of h = 8 88.9, 4 of h = 32 89.0,
# 16 of h = 16 with 5 x 5 88.6; the gated one, at a constant rate, 88.0, with 32 features and 5 x 5 91.1.
PIXEL_CNN_BINARIZED_MNIST = dataclasses.replace(
    DIAGONAL_BILSTM_BINARIZED_MNIST,
    name="pixel_cnn_binarized_mnist",
    summary="PixelCNN of the fixed binarized MNIST (van den Oord et al. 2016)",
    model="PixelCNN",
    num_layers=12,
    units=16,
    kernel_size=7,
    jit=False,
)

GATED_PIXEL_CNN_BINARIZED_MNIST = dataclasses.replace(
    PIXEL_CNN_BINARIZED_MNIST,
    name="gated_pixel_cnn_binarized_mnist",
    summary="gated PixelCNN of the fixed binarized MNIST (van den Oord et al. 2016)",
    gated=True,
    num_layers=5,
    units=8,
)

PIXELS_OF_BINARIZED_MNIST = (
    DIAGONAL_BILSTM_BINARIZED_MNIST,
    dataclasses.replace(
        DIAGONAL_BILSTM_BINARIZED_MNIST,
        name="row_lstm_binarized_mnist",
        summary="PixelRNN, Row LSTM, of the fixed binarized MNIST (van den Oord et al. 2016)",
        cell="row_lstm",
        num_layers=3,
    ),
    PIXEL_CNN_BINARIZED_MNIST,
    GATED_PIXEL_CNN_BINARIZED_MNIST,
)

SHORT_EPOCHS = {
    "diagonal_bilstm_binarized_mnist": 15,
    "row_lstm_binarized_mnist": 10,
    "pixel_cnn_binarized_mnist": 18,
    "gated_pixel_cnn_binarized_mnist": 17,
}


def short_form(recipe):
    epochs = SHORT_EPOCHS[recipe.name]
    return dataclasses.replace(
        recipe, name=f"{recipe.name}_short", summary=f"{recipe.summary}, {epochs} epochs", epochs=epochs
    )


# Of the data of the other recipes of MNIST, for the table of the zoo, in the half hour that these take.
PIXELS_OF_MNIST = tuple(
    dataclasses.replace(
        recipe,
        name=f"{family}_mnist",
        summary=f"{architecture} of dynamically binarized MNIST, 4 epochs",
        data="mnist",
        binarization="dynamic",
        epochs=4,
    )
    for family, architecture, recipe in (
        ("pixel_cnn", "gated PixelCNN", GATED_PIXEL_CNN_BINARIZED_MNIST),
        ("pixel_rnn", "PixelRNN, Diagonal BiLSTM,", DIAGONAL_BILSTM_BINARIZED_MNIST),
    )
)

PIXEL_CNN_DIGITS = Recipe(
    name="pixel_cnn_digits",
    summary="gated PixelCNN of the digits in their 17 levels, by class: two minutes",
    model="PixelCNN",
    binarization="none",
    num_levels=17,
    conditional=True,
    gated=True,
    num_layers=4,
    first_kernel_size=3,
    epochs=40,
    batch_size=32,
    learning_rate=3e-3,
    clip_norm=1.0,
    decay=True,
)

RECIPES = {
    recipe.name: recipe
    for recipe in (
        VAE_DIGITS,
        VAE_MNIST,
        dataclasses.replace(
            VAE_MNIST,
            name="vae_mnist_d40",
            summary="VAE on dynamically binarized MNIST, 40 latent dimensions (Davidson et al. 2018)",
            latent_dim=40,
        ),
        VAE_BINARIZED_MNIST,
        dataclasses.replace(
            VAE_BINARIZED_MNIST,
            name="vampprior_binarized_mnist",
            summary="the same VAE with a VampPrior of 500 pseudo-inputs (Tomczak and Welling 2018)",
            prior="vamp",
            num_components=500,
        ),
        dataclasses.replace(
            VAE_DIGITS,
            name="supervised_vae_digits",
            summary="supervised VAE of the digits: images of a class asked for",
            model="SupervisedVAE",
            epochs=80,
        ),
        dataclasses.replace(
            VAE_MNIST,
            name="supervised_vae_mnist",
            summary="supervised VAE on dynamically binarized MNIST, 10 latent dimensions, as vae_mnist",
            model="SupervisedVAE",
        ),
        dataclasses.replace(
            VAE_DIGITS,
            name="semi_supervised_vae_digits",
            summary="semi-supervised VAE (M2) of the digits, 100 labels",
            model="SemiSupervisedVAE",
            epochs=60,
            **FEW_LABELS,
        ),
        AAE_DIGITS,
        dataclasses.replace(
            AAE_DIGITS,
            name="semi_supervised_aae_digits",
            summary="semi-supervised AAE of the digits, 100 labels",
            model="SemiSupervisedAAE",
            epochs=60,
            **FEW_LABELS,
        ),
        SEMI_SUPERVISED_VAE_MNIST,
        dataclasses.replace(
            SEMI_SUPERVISED_VAE_MNIST,
            name="semi_supervised_vae_mnist_100",
            summary="semi-supervised VAE (M2) of dynamically binarized MNIST, 100 labels (Kingma et al. 2014)",
            num_labels=100,
            epochs=50,
            patience=50,
        ),
        AAE_MNIST,
        dataclasses.replace(
            AAE_MNIST,
            name="supervised_aae_mnist",
            summary="supervised AAE of gray MNIST: images of a class asked for (Makhzani et al. 2015, figure 6)",
            labels_in="decoder",
        ),
        dataclasses.replace(
            AAE_MNIST,
            name="conditional_aae_mnist",
            summary="the same AAE, its discriminator judging the codes of each class: images of a class asked for",
            labels_in="both",
        ),
        SEMI_SUPERVISED_AAE_MNIST,
        dataclasses.replace(
            SEMI_SUPERVISED_AAE_MNIST,
            name="semi_supervised_aae_mnist_100",
            summary="semi-supervised AAE of gray MNIST, 100 labels (Makhzani et al. 2015)",
            num_labels=100,
        ),
        dataclasses.replace(
            SEMI_SUPERVISED_AAE_MNIST,
            name="aae_clusters_mnist",
            summary="AAE of gray MNIST that finds 16 clusters without labels (Makhzani et al. 2015, section 6)",
            supervised=False,
            num_clusters=16,
            latent_dim=5,
            class_noise=0.1,
            batch_size=100,
            num_labels=0,
            labels_per_batch=0,
        ),
        dataclasses.replace(
            VAE_MNIST,
            name="hyperspherical_vae_mnist",
            summary="hyperspherical VAE on dynamic MNIST, the sphere of 10 dimensions (Davidson et al. 2018)",
            model="HypersphericalVAE",
        ),
        IWAE_MNIST_K1,
        dataclasses.replace(
            IWAE_MNIST_K1,
            name="iwae_mnist_k5",
            summary="IWAE, 5 samples, on dynamic MNIST by the schedule of Burda et al. 2015, 3280 epochs: a day",
            num_training_samples=5,
        ),
        dataclasses.replace(
            IWAE_MNIST_K1,
            name="iwae_mnist_k50",
            summary="IWAE, 50 samples, on dynamic MNIST by the schedule of Burda et al. 2015, 3280 epochs: four days",
            num_training_samples=50,
        ),
        IWAE_MNIST_K1_SHORT,
        IWAE_MNIST_K5_SHORT,
        dataclasses.replace(
            IWAE_MNIST_K5_SHORT,
            name="iwae_mnist_k50_short",
            summary="IWAE, 50 samples, 5 at first, on dynamic MNIST: the model of Burda et al. 2015 within two hours",
            num_training_samples=50,
            samples_at_first=5,
            epochs_at_first=160,
            epochs=220,
        ),
        Recipe(
            name="linear_vae_digits",
            summary="linear VAE on gray digits: trained by gradient, it becomes probabilistic PCA (Lucas et al. 2019)",
            model="VAE",
            binarization="none",
            likelihood="gaussian",
            hidden=(),
            latent_dim=10,
            epochs=300,
            batch_size=32,
            learning_rate=1e-2,
            decay=True,
        ),
        PCA_MNIST,
        dataclasses.replace(
            PCA_MNIST, name="pca_digits", summary="PCA of the digits, 10 components", data="digits", latent_dim=10
        ),
        KMEANS_MNIST,
        dataclasses.replace(
            KMEANS_MNIST,
            name="kmeans_digits",
            summary="k-means of the digits, 20 clusters, the best of 5 runs",
            data="digits",
            num_clusters=20,
        ),
        *PIXELS_OF_BINARIZED_MNIST,
        *map(short_form, PIXELS_OF_BINARIZED_MNIST),
        *PIXELS_OF_MNIST,
        PIXEL_CNN_DIGITS,
        dataclasses.replace(
            PIXEL_CNN_DIGITS,
            name="pixel_rnn_digits",
            summary="PixelRNN, Diagonal BiLSTM, of the digits in their 17 levels: two minutes",
            model="PixelRNN",
            conditional=False,
            num_layers=1,
        ),
        GAN_RING,
        GAN_DIGITS,
        dataclasses.replace(
            GAN_DIGITS,
            name="bigan_digits",
            summary="BiGAN of the digits: a GAN with an encoder that inverts its generator",
            model="BiGAN",
            latent_dim=8,
            objective="non_saturating",
            r1=3.0,
            r2=0.0,
            average_decay=0.995,
            beta_1=0.5,
        ),
        dataclasses.replace(
            GAN_RING,
            name="gan_mnist",
            summary="GAN (R3GAN) of gray MNIST, convolutional",
            data="mnist",
            latent_dim=64,
            network="convolutional",
            generator_hidden=(128, 64),
            discriminator_hidden=(64, 128),
            r1=1.0,
            r2=1.0,
            learning_rate=5e-4,
            batch_size=64,
            epochs=20,
            jit=False,  # on a CPU, XLA's convolutions are slower than those of plain graphs
        ),
    )
}


def recipe_named(name):
    """The recipe called `name`; a ValueError that offers near names otherwise."""
    if name not in RECIPES:
        raise ValueError(f"There is no recipe {name!r}{near(name, RECIPES)}; --list shows them all.")
    return RECIPES[name]
