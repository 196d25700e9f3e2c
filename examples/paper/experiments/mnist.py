"""MNIST in a 20-dimensional autoencoder latent: decoded samples against the test images.

A small convolutional autoencoder is trained on the training images; densities are fitted to the
20 numbers that it makes of each, and their samples are decoded. Negative log-likelihood (NLL) of
the test images' codes is in nats per row (less is better), of ours also with the solver's steps
doubled. The "Frechet distance in the classifier's features" (less is better) is that of two
Gaussians, with the mean and covariance of the features of decoded samples and of the test images;
the features are the 64 numbers before the last layer of a small classifier, trained here on the
training images. This is not FID, whose features are those of an Inception network trained on
ImageNet: it is not comparable with published FIDs, nor between runs whose classifiers differ, by
their seed, rows or epochs. "Unsure" is the share of images to which that classifier gives no label
a probability of 0.9: such as lie between digits.

Three references need no density. "training images" are real ones, as many as the samples. "test
images, decoded" went through the autoencoder and are the floor in this latent: being the test
images themselves, they lack the noise of another sample. "training images, decoded" have that too,
and are what a density would come to that is that of the training codes.
"""

import functools
import gzip
from pathlib import Path

import numpy as np
import torch
from datasets import data_folder
from flows import OURS, judged, likelihood
from measuring import timed
from reporting import Option, markdown, printed, ratio
from sklearn.mixture import GaussianMixture
from suites.likelihood import cell
from torch import nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from sklearn_jko import JKOFlowDensity

__all__ = ["OPTIONS", "frechet_distance", "ratios", "read_idx", "run", "table"]

SURE = 0.9
DISTANCE = "Frechet distance in the classifier's features"
N_LATENT, N_FEATURES, N_LABELS = 20, 64, 10
BATCH_SIZE, PEAK_RATE = 128, 3e-3
APPLIED_AT_ONCE = 1000
PICTURE_ROWS, PICTURE_COLUMNS = 8, 16
OPTIONS = (
    Option("rows", 60_000, 200, "training images, for the networks and for the densities"),
    Option("samples", 10_000, 150, "decoded samples of each density"),
    Option("autoencoder-epochs", 8, 1, "passes of the autoencoder through the training images"),
    Option("classifier-epochs", 2, 1, "passes of the classifier"),
    Option("max-iter", 1000, 5, "most optimiser steps of a block of ours"),
    Option("components", 100, 2, "components of GaussianMixture; Gaussian has one"),
    Option("pictures", "", "", "folder for a picture of each method's samples; none where empty"),
)


def run(arguments):
    folder, n = data_folder() / "mnist", arguments.samples
    images, labels = (part[: arguments.rows] for part in images_and_labels(folder, "train"))
    test_images, test_labels = images_and_labels(folder, "t10k")
    (encoder, decoder), of_autoencoder = trained_autoencoder(images, test_images, arguments)
    classifier, of_classifier = trained_classifier(
        images, labels, test_images, test_labels, arguments
    )
    test_features = applied(classifier[:-1], test_images)
    judge = functools.partial(compared, classifier, test_features, arguments.pictures)
    codes, test_codes = applied(encoder, images), applied(encoder, test_images)
    records = [
        of_autoencoder,
        of_classifier,
        judge("training images", images[:n]),
        judge("test images, decoded", decoded(decoder, test_codes)),
        judge("training images, decoded", decoded(decoder, codes[:n])),
    ]
    for method, fit in METHODS.items():
        figures, sample = fit(codes.double().numpy(), test_codes.double().numpy(), arguments)
        records.append(judge(method, decoded(decoder, torch.from_numpy(sample)), **figures))
    return records


def images_and_labels(folder, part):
    """Images (n, 1, height, width) in [0, 1], and labels (n,)."""
    images = read_idx(folder / f"{part}-images-idx3-ubyte.gz").astype(np.float32) / 255
    labels = read_idx(folder / f"{part}-labels-idx1-ubyte.gz").astype(np.int64)
    return torch.from_numpy(images)[:, None], torch.from_numpy(labels)


def read_idx(path):
    """Array of bytes: its number of axes is the fourth byte, their lengths come next, then it."""
    if not path.is_file():
        raise SystemExit(
            f"{path} is missing: put the four files of MNIST, IDX as gzip, into the folder mnist "
            "of the one that the environment variable SKLEARN_JKO_DATA names."
        )
    content = gzip.decompress(path.read_bytes())
    n_axes = content[3]
    shape = np.frombuffer(content, ">i4", count=n_axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 * (1 + n_axes)).reshape(shape)


def trained_autoencoder(images, test_images, arguments):
    """The network, and a record of how well it gives the test images back."""
    loss = binary_cross_entropy_with_logits
    train = functools.partial(trained, new_autoencoder, loss, images, images)
    network, seconds = timed(lambda: train(arguments.autoencoder_epochs, arguments.seed))
    error = (applied(network, test_images).sigmoid() - test_images).square().mean()
    record = {"network": "autoencoder", "squared_error": float(error), "fit_seconds": seconds}
    return network, printed(record)


def trained_classifier(images, labels, test_images, test_labels, arguments):
    """The network, and a record of how many of the test images it names rightly."""
    train = functools.partial(trained, new_classifier, cross_entropy, images, labels)
    network, seconds = timed(lambda: train(arguments.classifier_epochs, arguments.seed))
    hits = applied(network, test_images).argmax(dim=1) == test_labels
    accuracy = float(hits.double().mean())
    record = {"network": "classifier", "accuracy": accuracy, "fit_seconds": seconds}
    return network, printed(record)


def new_autoencoder():
    """Encoder and decoder, whose output is logits of the pixels."""
    return nn.Sequential(
        nn.Sequential(*halving_layers(), nn.Linear(32 * 7 * 7, N_LATENT)),
        nn.Sequential(
            nn.Linear(N_LATENT, 32 * 7 * 7),
            nn.ReLU(),
            nn.Unflatten(1, (32, 7, 7)),
            nn.ConvTranspose2d(32, 16, kernel_size=4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(16, 1, kernel_size=4, stride=2, padding=1),
        ),
    )


def new_classifier():
    """Its last layer takes the features."""
    return nn.Sequential(
        *halving_layers(),
        nn.Linear(32 * 7 * 7, N_FEATURES),
        nn.ReLU(),
        nn.Linear(N_FEATURES, N_LABELS),
    )


def halving_layers():
    """From 28 x 28 pixels to 7 x 7 of 32 channels, flat."""
    return (
        nn.Conv2d(1, 16, kernel_size=4, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, kernel_size=4, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
    )


def trained(new_network, loss, inputs, targets, n_epochs, seed):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = new_network()
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(network.parameters())
    n_steps = n_epochs * -(-len(inputs) // BATCH_SIZE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, PEAK_RATE, total_steps=n_steps)
    for _ in range(n_epochs):
        for batch in torch.randperm(len(inputs), generator=generator).split(BATCH_SIZE):
            optimizer.zero_grad()
            loss(network(inputs[batch]), targets[batch]).backward()
            optimizer.step()
            schedule.step()
    return network


@torch.no_grad()
def applied(network, inputs):
    """Part by part, so that hidden layers of all images are never in memory at once."""
    return torch.cat([network(part) for part in inputs.split(APPLIED_AT_ONCE)])


def decoded(decoder, codes):
    return applied(decoder, codes.float()).sigmoid()


def compared(classifier, test_features, pictures, method, images, **figures):
    """A method's record with the distance of its images, which are also drawn."""
    if pictures:
        save_picture(images, method, Path(pictures))
    features = applied(classifier[:-1], images)
    distance = frechet_distance(*(rows.double().numpy() for rows in (features, test_features)))
    labels = applied(classifier[-1:], features).softmax(dim=1)
    unsure = float((labels.amax(dim=1) < SURE).double().mean())
    return printed({"method": method, "distance": distance, "unsure": unsure, **figures})


def frechet_distance(A, B):
    """Between Gaussians with the means and the covariances of two arrays of rows.

    |m - n|^2 + tr(C + D - 2 (C D)^(1/2)), where C D has the eigenvalues of C^(1/2) D C^(1/2), which
    is symmetric and may be singular: a feature can be constant.
    """
    C, D = (np.cov(rows, rowvar=False) for rows in (A, B))
    values, vectors = np.linalg.eigh(C)
    root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
    products = np.linalg.eigvalsh(root @ D @ root)
    of_means = np.sum((A.mean(axis=0) - B.mean(axis=0)) ** 2)
    of_roots = np.sum(np.sqrt(np.maximum(products, 0)))
    return float(of_means + np.trace(C) + np.trace(D) - 2 * of_roots)


def flow(codes, test_codes, arguments):
    settings = {"max_iter": arguments.max_iter, "random_state": arguments.seed}
    estimator, seconds = timed(lambda: JKOFlowDensity(**settings, device="cpu").fit(codes))
    figures = {"fit_seconds": seconds, **judged(estimator, test_codes)}
    return figures, estimator.sample(arguments.samples, random_state=arguments.seed)


def gaussian(codes, test_codes, arguments):
    return mixture_of(1, codes, test_codes, arguments)


def gaussian_mixture(codes, test_codes, arguments):
    return mixture_of(arguments.components, codes, test_codes, arguments)


def mixture_of(n_components, codes, test_codes, arguments):
    unfitted = GaussianMixture(n_components, random_state=arguments.seed)
    mixture, seconds = timed(lambda: unfitted.fit(codes))
    figures = {"fit_seconds": seconds, **likelihood(mixture.score_samples, test_codes)}
    sample, _ = mixture.sample(arguments.samples)
    # They come component by component, and a picture shows the first.
    return figures, np.random.default_rng(arguments.seed).permutation(sample)


METHODS = {OURS: flow, "Gaussian": gaussian, "GaussianMixture": gaussian_mixture}


def table(records):
    autoencoder, classifier, *others = records
    header = ["images", DISTANCE, "unsure", "NLL (fit seconds)", "NLL, steps x 2"]
    rows = [
        [
            r["method"],
            f"{r['distance']:.3f}",
            f"{r['unsure']:.3f}",
            cell(r) if "nll" in r else "",
            f"{r['nll_steps_x2']:.3f}" if "nll_steps_x2" in r else "",
        ]
        for r in others
    ]
    networks = (
        f"Autoencoder: squared error {autoencoder['squared_error']:.4f} a pixel of the test "
        f"images, {autoencoder['fit_seconds']:.0f} s. Classifier: accuracy "
        f"{classifier['accuracy']:.4f}, {classifier['fit_seconds']:.0f} s."
    )
    return f"{networks}\n\n{markdown(header, rows)}"


def ratios(records):
    """Distance of ours over those of the other densities."""
    densities = {r["method"]: r["distance"] for r in records if "nll" in r}
    return [
        ratio(f"{DISTANCE}, ours over {name}", densities[OURS], distance)
        for name, distance in densities.items()
        if name != OURS
    ]


def save_picture(images, method, folder):
    """The first images, side by side."""
    from matplotlib.image import imsave

    folder.mkdir(parents=True, exist_ok=True)
    shown = images[: PICTURE_ROWS * PICTURE_COLUMNS, 0].numpy()
    lines = shown.reshape(PICTURE_ROWS, PICTURE_COLUMNS, *shown.shape[1:])
    path = folder / f"{method.replace(',', '').replace(' ', '_')}.png"
    imsave(path, np.block([list(line) for line in lines]), cmap="gray_r", vmin=0, vmax=1)
