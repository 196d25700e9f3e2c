"""Covariances of few rows: their symmetric roots, and how well they predict other rows."""

import numpy as np

__all__ = ["held_out_losses", "moments", "symmetric_roots"]

FOLDS = 5


def moments(rows):
    """Mean, with one additional row at the origin, and scatter (d, d) around it."""
    mean = rows.sum(axis=0) / (len(rows) + 1)
    deviation = rows - mean
    return mean, deviation.T @ deviation


def symmetric_roots(covariance, floor=0.0):
    """The matrix that whitens rows with this covariance, and its inverse.

    Parameters
    ----------
    covariance : ndarray of shape (d, d)
    floor : float, default=0
        Smaller eigenvalues are raised to this share of the largest.

    Returns
    -------
    whitening, colouring : ndarrays of shape (d, d)
        Inverse root and root, both symmetric.
    log_det : float
        log |det| of the whitening, in nats.
    """
    eigenvalues, vectors = np.linalg.eigh(covariance)
    roots = np.sqrt(np.maximum(eigenvalues, floor * eigenvalues[-1]))
    return (vectors / roots) @ vectors.T, (vectors * roots) @ vectors.T, -np.log(roots).sum()


def held_out_losses(rows, variances):
    """Normal negative log-likelihood of held-out rows, in five folds.

    With fewer than ten rows there are fewer folds, of two rows or more: centred rows sum to zero,
    so a single one is a combination of the others. With three rows or fewer there is one fold,
    whose moments are those of no rows.

    Parameters
    ----------
    rows : ndarray of shape (n, d)
        Rows of about zero mean; copies of a row must be adjacent.
    variances : callable
        Maps the eigenvalues (d,) of the scatter of n rows, and n, to variances (k, d) by k rules.

    Returns
    -------
    losses : ndarray of shape (k,)
        In nats, up to a constant.
    """
    losses, n_folds = 0.0, max(min(FOLDS, len(rows) // 2), 1)
    folds = np.arange(len(rows)) * n_folds // max(len(rows), 1)
    for fold in range(n_folds):
        train, held_out = rows[folds != fold], rows[folds == fold]
        mean, scatter = moments(train)
        eigenvalues, vectors = np.linalg.eigh(scatter)
        energy = (((held_out - mean) @ vectors) ** 2).sum(axis=0)
        of_rules = variances(np.maximum(eigenvalues, 0.0), len(train))
        losses += (energy / of_rules + len(held_out) * np.log(of_rules)).sum(axis=1) / 2
    return losses
