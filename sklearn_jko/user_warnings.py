"""Warnings that point to the user's line."""

import contextlib
import os
import sys
import warnings
from pathlib import Path

import joblib
import sklearn
import torch

__all__ = ["warn_user"]

# Files whose code may run between a user's line and a warning: our own, the decorators of
# scikit-learn and torch, and parallel searches.
BETWEEN = (
    contextlib.__file__,
    *(os.path.join(folder, "") for folder in (Path(__file__).parent, *sklearn.__path__)),
    *(os.path.join(folder, "") for folder in (*joblib.__path__, *torch.__path__)),
)


def warn_user(message, category=UserWarning):
    """Warn at the line that called this package, however deep in the call stack this is.

    Parameters
    ----------
    message : str or Warning
    category : type, default=UserWarning
    """
    frame, level = sys._getframe(), 1
    while frame is not None and frame.f_code.co_filename.startswith(BETWEEN):
        frame, level = frame.f_back, level + 1
    warnings.warn(message, category, stacklevel=level)
