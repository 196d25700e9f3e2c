"""Fitted densities as modules that leave Python.

`as_torch_module` gives log-densities in torch, with gradients, on any device. `torch.export` writes
such a module into a file that torch alone can run, without this package.
"""

from sklearn_jko.export.log_density import LogDensity, as_torch_module

__all__ = ["LogDensity", "as_torch_module"]
