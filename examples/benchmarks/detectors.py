"""Outlier detectors that people use, each as a function of training and test rows."""

import numpy as np
from sklearn.ensemble import IsolationForest
from sklearn.mixture import GaussianMixture
from sklearn.neighbors import KernelDensity, LocalOutlierFactor, NearestNeighbors
from sklearn.svm import OneClassSVM

__all__ = ["DETECTORS"]

# A function takes training rows, test rows and a seed, in columns standardised by the training
# rows, and gives a score of each test row, higher for outliers. Where the test rows are the
# training rows, they are the same object: a row is then not its own neighbour. (Its own kernel
# adds as much to its density as to any other row's, and changes no rank.)


def isolation_forest(train, test, seed):
    return -IsolationForest(random_state=seed).fit(train).score_samples(test)


def local_outlier_factor(train, test, seed):
    if test is train:
        return -LocalOutlierFactor().fit(train).negative_outlier_factor_
    return -LocalOutlierFactor(novelty=True).fit(train).score_samples(test)


def nearest_neighbours(train, test, seed):
    """Distance to the fifth."""
    index = NearestNeighbors(n_neighbors=min(5, len(train) - 1)).fit(train)
    distances, _ = index.kneighbors(None if test is train else test)
    return distances[:, -1]


def one_class_svm(train, test, seed):
    return -OneClassSVM().fit(train).score_samples(test)


def kernel_density(train, test, seed):
    """Scott's bandwidth."""
    return -KernelDensity(bandwidth="scott").fit(train).score_samples(test)


def gaussian_mixture(train, test, seed):
    """Five components."""
    n_components = min(5, len(train))
    return -GaussianMixture(n_components, random_state=seed).fit(train).score_samples(test)


def ecod(train, test, seed):
    from pyod.models.ecod import ECOD

    return ECOD().fit(train).decision_function(np.array(test))


def copod(train, test, seed):
    from pyod.models.copod import COPOD

    return COPOD().fit(train).decision_function(np.array(test))


DETECTORS = {
    "IsolationForest": isolation_forest,
    "LOF": local_outlier_factor,
    "kNN": nearest_neighbours,
    "OneClassSVM": one_class_svm,
    "ECOD": ecod,
    "COPOD": copod,
    "GaussianMixture": gaussian_mixture,
    "KernelDensity": kernel_density,
}
