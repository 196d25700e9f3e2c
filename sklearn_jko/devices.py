"""Where to compute."""

import torch

__all__ = ["device_named", "on_device_of"]


def device_named(name):
    """The torch device of this name; "auto" is "cuda" where there is one, else "cpu".

    Raises
    ------
    ValueError
        If it is not a device of these kinds, or not available.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"device={name!r} is not a torch device; use 'auto', 'cpu' or 'cuda': {error}"
        ) from None
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device={name!r} is not supported; use 'auto', 'cpu' or 'cuda'.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={name!r}: torch finds no such CUDA device; use device='cpu'.")
    return device


def on_device_of(module, array):
    """A tensor of the array, on the device of the module's parameters."""
    parameter = next(module.parameters(), None)
    return torch.tensor(array, device="cpu" if parameter is None else parameter.device)
