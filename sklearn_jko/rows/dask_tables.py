"""Tables in parts that are computed when they are asked for: collections of Dask."""

import functools
import inspect
import sys

import numpy as np
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from sklearn_jko.rows.table_types import check_collected

__all__ = ["by_partitions", "check_computed", "is_partitioned", "partitions_of"]


def is_partitioned(X):
    """Whether X is a collection of Dask, which the question does not import."""
    dask = sys.modules.get("dask")
    return dask is not None and dask.is_dask_collection(X)


def check_computed(X, parameter="X"):
    """Raise TypeError where X is a collection of Dask, or a frame of polars yet to be computed."""
    check_collected(X, parameter)
    if is_partitioned(X):
        raise TypeError(
            f"{parameter} is a collection of Dask ({type(X).__name__}), which is not taken here; "
            f"pass {parameter}.compute(), or call this for each of its parts."
        )


def partitions_of(X):
    """The parts of a Dask array or data frame, each Delayed and of all columns, in their order.

    Raises
    ------
    ValueError
        If X is not a table.
    """
    ndim = getattr(X, "ndim", None)
    if not isinstance(ndim, int) or ndim != 2:  # of a Delayed, what is asked for is one too
        raise ValueError(
            f"X is a collection of Dask ({type(X).__name__}) that is not a table of rows and "
            "columns; use a two-dimensional dask.array, or a dask.dataframe."
        )
    if hasattr(X, "rechunk"):
        X = X.rechunk({1: -1})
    return np.ravel(X.to_delayed()).tolist()


def by_partitions(dtype=np.float64, width=None):
    """Decorate a method of rows to take collections of Dask too, part by part.

    What it then returns is a lazy `dask.array`, whose parts are those of X. The model is one node
    of Dask's graph, which is sent to a worker once.

    Parameters
    ----------
    dtype : dtype
        Of what the method returns.
    width : callable, optional
        Maps the model to the number of columns that the method returns; None where that is one
        number a row.
    """

    def decorated(method):
        signature = inspect.signature(method)

        @functools.wraps(method)
        def either(self, X, *args, **options):
            if not is_partitioned(X):
                return method(self, X, *args, **options)
            check_is_fitted(self)
            _check_output(self, method.__name__)
            _, _, *rest = signature.bind(self, X, *args, **options).arguments.items()
            if any(value is not signature.parameters[name].default for name, value in rest):
                raise ValueError(
                    f"{method.__name__} takes nothing but X where that is a collection of Dask; "
                    "call it on the parts for the rest."
                )
            return _lazy(self, method.__name__, X, dtype, () if width is None else (width(self),))

        return either

    return decorated


def _check_output(model, method):
    output = _get_output_config("transform", model)["dense"] if method == "transform" else "default"
    if output != "default":  # whose wrapper would compute all
        raise TypeError(
            f"transform of a collection of Dask gives a lazy array, and none of {output}; call "
            "set_output(transform='default')."
        )


def _lazy(model, method, X, dtype, tail):
    import dask
    import dask.array

    parts = partitions_of(X)
    if X.shape[1] != model.n_features_in_:
        raise ValueError(
            f"X has {X.shape[1]} features, but {type(model).__name__} is expecting "
            f"{model.n_features_in_} features as input."
        )
    lengths = X.chunks[0] if hasattr(X, "chunks") else [np.nan] * len(parts)
    model, apply = dask.delayed(model), dask.delayed(_apply, pure=False)
    results = [
        dask.array.from_delayed(apply(model, method, part, dtype, tail), (n, *tail), dtype)
        for part, n in zip(parts, lengths, strict=True)
    ]
    return dask.array.concatenate(results, allow_unknown_chunksizes=True)


def _apply(model, method, part, dtype, tail):
    if len(part) == 0:  # as some partitions of a filtered frame are
        return np.empty((0, *tail), dtype)
    return np.asarray(getattr(model, method)(part), dtype)
