"""A second device that computes on the CPU, so that placement can be tested without a GPU.

As on a GPU, operations refuse tensors of both devices, but for single numbers, and `Tensor.numpy`
refuses tensors that were not moved to the CPU.
"""

import contextlib
from collections import Counter
from unittest import mock

import torch
from torch.utils._mode_utils import no_dispatch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

__all__ = ["PRETEND", "pretend_device"]

# Of torch's names, one whose gradients autograd computes in the calling thread without a backend.
Generator = torch.Generator
PRETEND, CPU = torch.device("lazy"), torch.device("cpu")
aten = torch.ops.aten
MOVES = aten._to_copy.default, aten.copy_.default
READS = aten._local_scalar_dense.default, aten.is_nonzero.default, aten.equal.default


class PretendTensor(torch.Tensor):
    """A tensor of the device; `held` is the tensor of the CPU that has its values."""

    @staticmethod
    def __new__(cls, held):
        self = torch.Tensor._make_wrapper_subclass(
            cls,
            held.size(),
            strides=held.stride(),
            storage_offset=held.storage_offset(),
            dtype=held.dtype,
            device="meta",  # so that autograd knows shapes; `device` is asked of `_call`
            dispatch_device=True,
        )
        self.held = held
        return self

    __torch_function__ = torch._C._disabled_torch_function_impl

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _call(function, args, kwargs or {}, Counter())

    def new_tensor(self, data):
        return torch.tensor(data, dtype=self.dtype, device=self.device)

    def tolist(self):
        return self.cpu().tolist()


class _Dispatch(TorchDispatchMode):
    """Takes calls without any tensor of the device, such as `torch.empty`, to it too."""

    def __init__(self):
        super().__init__()
        self.reads = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        return _call(function, args, kwargs or {}, self.reads)


def _call(function, args, kwargs, reads):
    if function is torch.ops.prim.device.default:
        return PRETEND
    tensors = [leaf for leaf in tree_leaves((args, kwargs)) if isinstance(leaf, torch.Tensor)]
    pretended = [tensor for tensor in tensors if isinstance(tensor, PretendTensor)]
    if pretended and function not in MOVES:
        others = [t for t in tensors if not isinstance(t, PretendTensor) and t.dim()]
        if others:
            raise RuntimeError(f"{function}: tensors of two devices")
    device = kwargs.get("device")
    if device is not None:
        kwargs = {**kwargs, "device": CPU}
    if function is aten.copy_.default:
        is_pretended = isinstance(args[0], PretendTensor)
    else:
        is_pretended = bool(pretended) if device is None else torch.device(device) == PRETEND
    if pretended and (function in READS or not is_pretended):
        reads[str(function)] += 1
    wrappers = {id(tensor.held): tensor for tensor in pretended}
    held_args, held_kwargs = tree_map_only(PretendTensor, lambda t: t.held, (args, kwargs))
    result = function(*held_args, **held_kwargs)
    if pretended and torch.Tag.inplace_view in function.tags:
        with no_dispatch():  # the wrapper takes the new shape too
            function(*args, **kwargs)

    def wrapped(tensor):
        if id(tensor) in wrappers:
            return wrappers[id(tensor)]
        return PretendTensor(tensor) if is_pretended else tensor

    return tree_map_only(torch.Tensor, wrapped, result)


class _Generator(Generator):
    """A generator of the CPU's, by the name of any device."""

    def __new__(cls, device=CPU):
        self = Generator.__new__(cls, CPU)
        self.name = torch.device(device)
        return self

    @property
    def device(self):
        return self.name


def _moved(function):
    """`torch.tensor` and the like do not ask a dispatch mode for new tensors; moves do."""

    def moved(data, *, dtype=None, device=None):
        tensor = function(data, dtype=dtype)
        return tensor if device is None else tensor.to(device)

    return moved


@contextlib.contextmanager
def pretend_device(*modules):
    """Within it, the device exists, and is that of any name in the modules' `device_named`.

    Yields
    ------
    reads : Counter
        How often the program waited for the device to read values, by operation.
    """
    with contextlib.ExitStack() as stack:
        for name in ("tensor", "as_tensor"):
            moved = _moved(getattr(torch, name))
            stack.enter_context(mock.patch.object(torch, name, moved))
        stack.enter_context(mock.patch.object(torch, "Generator", _Generator))
        for module in modules:
            stack.enter_context(mock.patch.object(module, "device_named", _device_named))
        yield stack.enter_context(_Dispatch()).reads


def _device_named(name):
    return CPU if name == "cpu" else PRETEND
