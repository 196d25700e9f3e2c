"""Tables in parts that are computed on demand: collections of Dask."""

import functools
import inspect
import sys

import numpy as np
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import check_is_fitted

from sklearn_jko.rows.table_types import check_collected

__all__ = ["by_partitions", "check_computed", "is_partitioned", "partitions_of"]


def is_partitioned(X):
    """Whether X is a collection of Dask; does not import Dask."""
    dask = sys.modules.get("dask")
    return dask is not None and dask.is_dask_collection(X)


def check_computed(X, parameter="X"):
    """Raise TypeError if X is a collection of Dask, or a frame of polars yet to be computed."""
    check_collected(X, parameter)
    if is_partitioned(X):
        raise TypeError(
            f"{parameter} is a collection of Dask ({type(X).__name__}), which is not supported "
            f"here; pass {parameter}.compute(), or call this for each of its parts."
        )


def partitions_of(X):
    """The parts of a Dask array or data frame, in order, each Delayed and with all columns.

    Raises
    ------
    ValueError
        If X is not a table.
    """
    ndim = getattr(X, "ndim", None)
    if not isinstance(ndim, int) or ndim != 2:  # any attribute of a Delayed is a Delayed
        raise ValueError(
            f"X is a collection of Dask ({type(X).__name__}) that is not a table of rows and "
            "columns; use a two-dimensional dask.array, or a dask.dataframe."
        )
    if hasattr(X, "rechunk"):
        X = X.rechunk({1: -1})
    return np.ravel(X.to_delayed()).tolist()


def by_partitions(dtype=np.float64, width=None):
    """Decorate a method that takes rows to accept collections of Dask too, part by part.

    It then returns a lazy `dask.array`, whose parts are those of X. The model is one node of Dask's
    graph, so it is sent to a worker only once.

    Parameters
    ----------
    dtype : dtype
        Type of the result.
    width : callable, optional
        Maps the model to the number of columns of the result; None if that is one number per row.
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
                    f"{method.__name__} takes no other argument than X if that is a collection of "
                    "Dask; to pass others, call it on each part."
                )
            return _lazy(self, method.__name__, X, dtype, () if width is None else (width(self),))

        return either

    return decorated


def _check_output(model, method):
    output = _get_output_config("transform", model)["dense"] if method == "transform" else "default"
    if output != "default":  # its wrapper would compute everything
        raise TypeError(
            f"transform of a collection of Dask returns a lazy array, not a table of {output}; "
            "call set_output(transform='default')."
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
    if len(part) == 0:  # some partitions of a filtered frame are empty
        return np.empty((0, *tail), dtype)
    return np.asarray(getattr(model, method)(part), dtype)
