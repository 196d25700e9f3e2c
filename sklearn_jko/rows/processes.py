"""Processes that fit one density together, each to some of the rows.

They communicate through `Processes`; for a single process, `ALONE`, every answer is its own.
"""

import copy
import os
from contextlib import contextmanager

import torch
import torch.distributed

__all__ = ["ALONE", "Group", "Processes", "is_one_of_many"]


class Processes:
    """A single process.

    Attributes
    ----------
    rank, world_size : int
        The index of this process, and the number of processes.
    share : float
        Share of this process in the weight of all training rows.
    """

    rank, world_size, share = 0, 1, 1.0
    is_alone = True

    @property
    def is_first(self):
        return self.rank == 0

    def own_slice(self, n):
        """The slice of n items that belongs to this process."""
        return slice(n * self.rank // self.world_size, n * (self.rank + 1) // self.world_size)

    def all_gather(self, value):
        """List of all processes' values, in their order."""
        return [value]

    def on_first(self, function):
        """Call a function without arguments in the first process, and return its result in all.

        Its error is raised in the first, and a RuntimeError that quotes it in the others.
        """
        return function()

    def all_reduce_(self, tensors):
        """Add up each of the tensors over all processes, in place."""

    def broadcast_weights_(self, module):
        """Give a module the weights that it has in the first process."""

    def all_concatenate(self, rows, n):
        """The n rows of which this process has its `own_slice`."""
        return rows

    def total(self, number):
        """Sum of all processes' numbers."""
        return sum(self.all_gather(number))

    def check_alike(self, what):
        """Raise an error in all processes if they were called with different values.

        Parameters
        ----------
        what : dict
            The values by name; they are compared by their representations.

        Raises
        ------
        ValueError
            Naming the first value that differs.
        """
        everywhere = self.all_gather({name: repr(value) for name, value in what.items()})
        for name in what:
            told = [those[name] for those in everywhere]
            if len(set(told)) > 1:
                raise ValueError(
                    f"the processes of the group differ in {name}: {', '.join(told)}. Use the same "
                    "in all."
                )

    @contextmanager
    def failing_together(self):
        """Raise an error in every process if one has an error in this context.

        Within it the processes must not communicate.
        """
        yield


ALONE = Processes()


class Group(Processes):
    """Processes of `torch.distributed`.

    Parameters
    ----------
    group : torch.distributed.ProcessGroup
        All of its processes must make the same calls in the same order. If one ends, or does not
        answer within the group's timeout, all others raise a RuntimeError.
    """

    is_alone = False

    def __init__(self, group):
        self.group = group
        self.rank = torch.distributed.get_rank(group)
        self.world_size = torch.distributed.get_world_size(group)
        if self.rank < 0:
            raise ValueError(
                "process_group does not contain this process; pass a group that contains it."
            )

    def weighed(self, weight):
        """The same group, given the total weight of the training rows of this process."""
        weighed = copy.copy(self)
        weighed.share = weight / self.total(weight)
        return weighed

    def all_gather(self, value):
        values = [None] * self.world_size
        self._call(torch.distributed.all_gather_object, values, value, group=self.group)
        return values

    def on_first(self, function):
        if not self.is_first:
            answer, error = self._first_ones([None, None])
            _raise_others([error])
            return answer
        # An error kept in a variable of this frame would form a cycle that keeps the group alive.
        try:
            answer = function()
        except BaseException as error:
            self._first_ones([None, _told(error)])
            raise
        return self._first_ones([answer, None])[0]

    def all_reduce_(self, tensors):
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        self._call(torch.distributed.all_reduce, flat, group=self.group)
        parts = flat.split([tensor.numel() for tensor in tensors])
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def broadcast_weights_(self, module):
        weights = {name: weight.cpu() for name, weight in module.state_dict().items()}
        module.load_state_dict(self.on_first(lambda: weights))

    def all_concatenate(self, rows, n):
        whole = rows.new_zeros((n, *rows.shape[1:]))
        whole[self.own_slice(n)] = rows
        self.all_reduce_([whole])
        return whole

    @contextmanager
    def failing_together(self):
        try:
            yield
        except BaseException as error:
            self.all_gather(_told(error))
            raise
        _raise_others(self.all_gather(None))

    def _first_ones(self, values):
        """The list of the first process."""
        first = torch.distributed.get_global_rank(self.group, 0)
        self._call(torch.distributed.broadcast_object_list, values, first, group=self.group)
        return values

    def _call(self, collective, *args, **kwargs):
        try:
            collective(*args, **kwargs)
        except RuntimeError as error:
            raise RuntimeError(
                f"process {self.rank} of {self.world_size} lost another one, which ended or did "
                f"not answer within the timeout of the group ({error}). Restart all processes; "
                "with a checkpoint the fit resumes after the last complete block."
            ) from error


def is_one_of_many():
    """Whether torchrun started this process among others, without a group that connects them."""
    distributed = torch.distributed
    is_launched = distributed.is_available() and distributed.is_torchelastic_launched()
    return is_launched and os.environ.get("WORLD_SIZE") != "1" and not distributed.is_initialized()


def _told(error):
    return f"{type(error).__name__}: {error}"


def _raise_others(errors):
    """Raise the first of the errors, given as texts, that the processes had."""
    for rank, error in enumerate(errors):
        if error is not None:
            raise RuntimeError(f"process {rank} of the group failed with {error}")
