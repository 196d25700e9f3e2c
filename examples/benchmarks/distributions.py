"""Distributions of known density, to draw tables from."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy import stats
from scipy.special import gammaln, logsumexp

__all__ = ["DISTRIBUTIONS", "Distribution"]


class Distribution(NamedTuple):
    """A distribution of rows of d columns.

    Attributes
    ----------
    draw : callable
        Maps a number of rows and a NumPy Generator to rows (n, d).
    log_density : callable
        Maps rows (n, d) to (n,), in nats.
    """

    draw: Callable
    log_density: Callable


def of_columns(*columns):
    """Independent columns, each a distribution of scipy."""

    def draw(n, rng):
        return np.column_stack([column.rvs(n, random_state=rng) for column in columns])

    def log_density(X):
        return sum(column.logpdf(x) for column, x in zip(columns, X.T, strict=True))

    return Distribution(draw, log_density)


def of_scipy(law, d):
    """A multivariate distribution of scipy."""
    return Distribution(lambda n, rng: law.rvs(n, random_state=rng).reshape(n, d), law.logpdf)


def pushed(base, forward, backward, log_slopes):
    """Columns of another distribution, each put through the same increasing function.

    `log_slopes` maps values to the logarithm of the slope of `backward` there.
    """

    def log_density(Y):
        return base.log_density(backward(Y)) + log_slopes(Y).sum(axis=1)

    return Distribution(lambda n, rng: forward(base.draw(n, rng)), log_density)


def around(centres, spread):
    """Equal round normal distributions around the rows of an array."""
    d = centres.shape[1]

    def draw(n, rng):
        return rng.choice(centres, n) + spread * rng.standard_normal((n, d))

    def log_density(X):
        squares = ((X[:, None] - centres) ** 2).sum(axis=2)
        constant = np.log(len(centres)) + d * np.log(spread * np.sqrt(2 * np.pi))
        return logsumexp(-0.5 * squares / spread**2, axis=1) - constant

    return Distribution(draw, log_density)


def circle(radius, angles=(0, 2 * np.pi), centre=(0.0, 0.0), n_points=1000):
    angles = np.linspace(*angles, n_points, endpoint=False)
    return centre + radius * np.column_stack([np.cos(angles), np.sin(angles)])


def moons(spread):
    halves = circle(1.0, (0, np.pi)), circle(1.0, (np.pi, 2 * np.pi), (1.0, 0.5))
    return around(np.vstack(halves), spread)


def spiral(spread):
    angles = 3 * np.pi * np.sqrt(np.linspace(0, 1, 2000))
    return around(angles[:, None] * np.column_stack([np.cos(angles), np.sin(angles)]), spread)


def clusters(k, d, spread=0.3):
    return around(np.random.default_rng(0).uniform(-3, 3, (k, d)), spread)


def checkerboard():
    """Uniform on every other square of a board of four by four."""

    def draw(n, rng):
        row, half = rng.integers(4, size=n), rng.integers(2, size=n)
        return np.column_stack([row, 2 * half + row % 2]) + rng.uniform(size=(n, 2))

    def log_density(X):
        is_on = (np.floor(X).sum(axis=1) % 2 == 0) & ((X >= 0) & (X < 4)).all(axis=1)
        return np.where(is_on, -np.log(8), -np.inf)

    return Distribution(draw, log_density)


def shell(d, spread=0.1):
    """Directions are uniform, distances from the origin normal around 1."""

    def draw(n, rng):
        directions = rng.standard_normal((n, d))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        return directions * (1 + spread * rng.standard_normal((n, 1)))

    def log_density(X):
        distances = np.linalg.norm(X, axis=1)
        log_area = np.log(2) + 0.5 * d * np.log(np.pi) - gammaln(0.5 * d)
        log_area = log_area + (d - 1) * np.log(distances)
        return stats.norm.logpdf(distances, 1, spread) - log_area

    return Distribution(draw, log_density)


def bananas(d, spread=0.5):
    """The other columns are parabolas of the first."""
    curvature = np.linspace(0.5, 1.5, d - 1)

    def draw(n, rng):
        X = rng.standard_normal((n, d))
        X[:, 1:] = spread * X[:, 1:] + curvature * X[:, :1] ** 2
        return X

    def log_density(X):
        residuals = X[:, 1:] - curvature * X[:, :1] ** 2
        others = stats.norm.logpdf(residuals, scale=spread).sum(axis=1)
        return stats.norm.logpdf(X[:, 0]) + others

    return Distribution(draw, log_density)


def growing_spread():
    """A wave whose spread grows along it."""

    def draw(n, rng):
        x = rng.exponential(size=n)
        return np.column_stack([x, rng.normal(np.sin(2 * x), 0.3 * x)])

    def log_density(X):
        x, y = X.T
        return stats.expon.logpdf(x) + stats.norm.logpdf(y, np.sin(2 * x), 0.3 * x)

    return Distribution(draw, log_density)


def normal(d):
    covariance = stats.wishart(d + 2, np.eye(d)).rvs(random_state=0)
    return of_scipy(stats.multivariate_normal(np.zeros(d), covariance), d)


def few_factors(d, n_factors):
    loadings = np.random.default_rng(0).standard_normal((d, n_factors))
    covariance = loadings @ loadings.T + 0.1 * np.eye(d)
    return of_scipy(stats.multivariate_normal(np.zeros(d), covariance), d)


def student(d, degrees):
    covariance = 0.5 * np.eye(d) + 0.5
    return of_scipy(stats.multivariate_t(np.zeros(d), covariance, degrees), d)


def log_normal(d):
    return pushed(
        normal(d), lambda X: np.exp(X / 2), lambda Y: 2 * np.log(Y), lambda Y: np.log(2 / Y)
    )


def heavy_series(d):
    """Hyperbolic sines of a stationary normal series."""
    lags = np.abs(np.subtract.outer(np.arange(d), np.arange(d)))
    series = of_scipy(stats.multivariate_normal(np.zeros(d), 0.9**lags), d)
    return pushed(series, np.sinh, np.arcsinh, lambda Y: -0.5 * np.log1p(Y**2))


def uniform(d):
    return of_columns(*[stats.uniform()] * d)


DISTRIBUTIONS = {
    "exponential": of_columns(stats.expon()),
    "log-normal": of_columns(stats.lognorm(1.5)),
    "Student, 2 degrees": of_columns(stats.t(2)),
    "uniform": uniform(1),
    "arcsine": of_columns(stats.beta(0.5, 0.5)),
    "three clusters": around(np.array([[-2.0], [0.0], [0.2]]), 0.1),
    "moons": moons(0.1),
    "rings": around(np.vstack([circle(1.0), circle(0.5)]), 0.05),
    "spiral": spiral(0.4),
    "eight clusters": around(circle(2.0, n_points=8), 0.2),
    "checkerboard": checkerboard(),
    "square": uniform(2),
    "growing spread": growing_spread(),
    "banana": bananas(2),
    "bananas, 5 columns": bananas(5),
    "shell, 3 columns": shell(3),
    "shell, 6 columns": shell(6),
    "Cauchy, 3 columns": student(3, 1),
    "Student, 8 columns": student(8, 3),
    "log-normal, 4 columns": log_normal(4),
    "skewed, 4 columns": of_columns(
        stats.expon(), stats.gamma(0.5), stats.beta(0.5, 0.5), stats.laplace()
    ),
    "cube, 6 columns": uniform(6),
    "clusters, 4 columns": clusters(5, 4),
    "clusters, 10 columns": clusters(10, 10),
    "series, 12 columns": heavy_series(12),
    "normal, 5 columns": normal(5),
    "normal, 20 columns": normal(20),
    "factors, 50 columns": few_factors(50, 3),
}
