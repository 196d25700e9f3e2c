"""Two-dimensional toy densities, by formulas and from pictures.

The entropy of a toy is the negative log-likelihood that no model can beat on fresh rows: log 32
for the checkerboard, `picture_entropy` for pictures.
"""

import functools

import numpy as np
from scipy.spatial import cKDTree
from scipy.special import logsumexp

__all__ = [
    "PICTURES",
    "TOYS",
    "image_intensity",
    "image_rows",
    "picture_entropy",
    "picture_log_density",
    "picture_rows",
]

EXTENT = 4.0  # of the square [-4, 4] x [-4, 4] that a picture fills
BUMP = 0.5  # deviation in pixels: on an evenly dark area the density is even to 3 %
N_NEAREST = 64
CHUNK = 10_000

N_PIXELS = 240
# Petals' number (times two if even), length, turn.
PETALS = ((4, 3.8, 0.0), (4, 2.6, np.pi / 8), (5, 1.5, np.pi / 2))
LEVELS = 8


def checkerboard(n, rng):
    """Uniform on every second of the 4 x 4 cells of width 2; the lower left one has rows."""
    column, pair = rng.integers(4, size=n), rng.integers(2, size=n)
    corners = np.c_[column, 2 * pair + column % 2] - 2
    return 2 * (corners + rng.random((n, 2)))


def olympic_rings(n, rng):
    """Five circles of radius 1.1, with normal noise."""
    centres = np.array([[-2.5, 0.6], [0.0, 0.6], [2.5, 0.6], [-1.25, -0.6], [1.25, -0.6]])
    angle = rng.uniform(0, 2 * np.pi, n)
    circle = 1.1 * np.c_[np.cos(angle), np.sin(angle)]
    return centres[rng.integers(len(centres), size=n)] + circle + 0.08 * rng.normal(size=(n, 2))


def two_moons(n, rng):
    """Half circles of radius 2 about (-1, -0.5) and (1, 0.5), with normal noise."""
    angle, side = rng.uniform(0, np.pi, n), rng.integers(2, size=n)
    X = 2 * np.c_[np.cos(angle) + side - 0.5, (1 - 2 * side) * (np.sin(angle) - 0.25)]
    return X + 0.2 * rng.normal(size=(n, 2))


def eight_gaussians(n, rng):
    """Deviation 0.5 / sqrt(2) about eight points of a circle of radius 4 / sqrt(2)."""
    angle = rng.integers(8, size=n) * np.pi / 4
    return (4 * np.c_[np.cos(angle), np.sin(angle)] + 0.5 * rng.normal(size=(n, 2))) / np.sqrt(2)


def image_intensity(path):
    """How dark each pixel of an image is: 1 less its luminance, on a white background.

    Parameters
    ----------
    path : path of an image that Pillow can read, with or without palette and transparency

    Returns
    -------
    ndarray of shape (height, width), the top row first
    """
    from PIL import Image  # comes with matplotlib

    with Image.open(path) as image:
        image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    luminance = np.asarray(Image.alpha_composite(white, image).convert("L")) / 255
    if luminance.min() == 1:
        raise ValueError(
            f"{path} is white all over, so that no row can be drawn: give an image with dark "
            "lines or areas on white."
        )
    return 1 - luminance


def image_rows(path, n, rng):
    """Rows of `picture_rows` from an image file, see `image_intensity`."""
    return picture_rows(image_intensity(path), n, rng)


def picture_rows(intensity, n, rng):
    """Rows from a picture: each pixel is a Gaussian bump, as likely as it is dark.

    Both sides span [-4, 4], as in the paper's code, so that the pixels of a picture that is not
    square are not either; x points to the right and y up. A bump's deviation is half a pixel.

    Parameters
    ----------
    intensity : ndarray of shape (height, width), the top row first
        Not negative; 0 is white.
    n : int
    rng : numpy.random.Generator

    Returns
    -------
    ndarray of shape (n, 2)
    """
    centres, shares, deviation = bumps(intensity)
    chosen = rng.choice(len(centres), size=n, p=shares)
    return centres[chosen] + deviation * rng.normal(size=(n, 2))


def picture_log_density(intensity, X):
    """Log-density of `picture_rows`, from the bumps of the 64 pixels nearest to each row.

    The other pixels are nearly nine deviations away where all are dark, farther elsewhere, and add
    nothing that would show. Every row has a finite log-density.

    Parameters
    ----------
    intensity : ndarray of shape (height, width)
    X : ndarray of shape (n, 2)

    Returns
    -------
    ndarray of shape (n,)
    """
    centres, shares, deviation = bumps(intensity)
    tree, log_shares = cKDTree(centres / deviation), np.log(shares)
    neighbours = np.arange(1, 1 + min(N_NEAREST, len(centres)))

    def log_sums(rows):
        distance, nearest = tree.query(rows, neighbours)
        return logsumexp(log_shares[nearest] - 0.5 * distance**2, axis=1)

    chunks = np.array_split(X / deviation, 1 + len(X) // CHUNK)
    area = 2 * np.pi * deviation.prod()
    return np.concatenate([log_sums(rows) for rows in chunks]) - np.log(area)


def picture_entropy(intensity, n, rng):
    """Entropy of `picture_rows` in nats, estimated by minus the log-density of n of them."""
    return -picture_log_density(intensity, picture_rows(intensity, n, rng)).mean()


def bumps(intensity):
    """Centres and shares of the bumps, one for each pixel that is not white, and deviations."""
    height, width = intensity.shape
    row, column = np.nonzero(intensity)
    if len(row) == 0:
        raise ValueError("All pixels have the intensity 0: give a picture with some above 0.")
    pitch = 2 * EXTENT / np.array([width, height])
    centres = pitch * np.c_[column - (width - 1) / 2, (height - 1) / 2 - row]
    return centres, intensity[row, column] / intensity.sum(), BUMP * pitch


@functools.cache
def rose_picture():
    """Nested rhodonea curves, r = length * cos(k * angle)."""
    t = np.linspace(0, 2 * np.pi, 5000)
    curves = [
        length * np.cos(k * t)[:, None] * np.c_[np.cos(t + turn), np.sin(t + turn)]
        for k, length, turn in PETALS
    ]
    points = np.concatenate(curves)
    return drawn(points, np.full(len(points), 0.06))


@functools.cache
def tree_picture():
    """A trunk, and two branches at the end of every branch, shorter and thinner."""
    starts, angles, length, half_width = np.array([[0.0, -3.5]]), np.array([np.pi / 2]), 1.9, 0.12
    points, half_widths = [], []
    for _ in range(LEVELS):
        steps = length * np.c_[np.cos(angles), np.sin(angles)]
        along = np.linspace(0, 1, 100)[:, None, None]
        points.append((starts + along * steps).reshape(-1, 2))
        half_widths.append(np.full(len(points[-1]), half_width))
        starts = np.repeat(starts + steps, 2, axis=0)
        angles = (angles[:, None] + [-0.42, 0.42]).ravel()
        length, half_width = 0.76 * length, max(0.75 * half_width, 0.025)
    return drawn(np.concatenate(points), np.concatenate(half_widths))


def drawn(points, half_widths):
    """A square picture of a pen's way: intensity 1 within its half width, 0 elsewhere."""
    axis = 2 * EXTENT / N_PIXELS * (np.arange(N_PIXELS) - (N_PIXELS - 1) / 2)
    pixels = np.stack(np.meshgrid(axis, -axis), axis=-1)
    distance, nearest = cKDTree(points).query(pixels)
    return (distance <= half_widths[nearest]).astype(np.float64)


def rose(n, rng):
    return picture_rows(rose_picture(), n, rng)


def fractal_tree(n, rng):
    return picture_rows(tree_picture(), n, rng)


# Pictures of our own in place of the paper's, each a function without arguments.
PICTURES = {"rose": rose_picture, "fractal tree": tree_picture}

# Each a function of the number of rows and a generator that gives the rows, of shape (n, 2).
TOYS = {
    "rose": rose,
    "fractal tree": fractal_tree,
    "checkerboard": checkerboard,
    "Olympic rings": olympic_rings,
    "two moons": two_moons,
    "8 Gaussians": eight_gaussians,
}
