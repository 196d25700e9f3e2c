"""Neighbourhood of the columns of a table: the pixels of an image, or the nodes of a graph."""

import itertools
import math
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse

from sklearn_jko.checks import check_keys, check_ndarray, is_whole, short_repr

__all__ = ["Structure", "structure_of"]

# A velocity sees nodes up to two edges away. Nodes farther away have an effect through the
# integration of the equation.
MAX_HOPS = 2
# Pixels, blocks of 3 x 3 and blocks of 9 x 9: a window of 27 x 27.
MAX_SCALES, GROWTH = 3, 3
# Limits that keep the maps of the surroundings below a few hundred MB.
MAX_COLUMNS, MAX_PATHS, MAX_PRODUCTS = 4096, 2**22, 2**24
# Maps with more entries are kept sparse.
MAX_DENSE = 2**18


class Maps(NamedTuple):
    """Tensors of a structure: the map to what nodes see, its transpose, and scalar products."""

    # Of shape (n_nodes * n_relations, n_copies * n_modelled); sparse where that is large.
    gather: torch.Tensor
    scatter: torch.Tensor
    gram: torch.Tensor | None  # of shape (n_nodes, n_relations, n_relations); None of a graph
    squares: torch.Tensor | None  # of the entries of gather; None of an image
    squares_back: torch.Tensor | None  # their transpose
    gather_given: torch.Tensor  # of shape (n_nodes * n_relations, n_copies * n_given)


class Structure:
    """The surroundings of every node of an image or a graph, as a linear map of the columns.

    Parameters
    ----------
    shape : tuple of int (height, width, channels), or None
        Of an image, whose columns are in C order. A pixel sees the 3 x 3 window around it and, as
        far as the image goes, the blocks of 3 x 3 and 9 x 9 pixels around that, summed and scaled
        such that independent pixels of unit variance give unit variance; beyond the edge all is
        zero.
    edges : ndarray of shape (n_edges, 2), int, or None
        Of a graph with one column per node. A node sees itself, a sum over its neighbours and a sum
        over the nodes two edges away; in each sum a node is weighted by one over the root of the
        numbers of such neighbours of both nodes.
    is_given : ndarray of shape (n_columns,), bool
        Which columns are given: nodes see them separately from the others, and do not move them.

    Attributes
    ----------
    n_modelled, n_given : int
        Number of columns of either kind.
    n_nodes, n_relations : int
        Number of nodes with something to model, and of values that each of them sees.
    n_copies : int
        The columns of a graph have one copy per relation, each with a scale of its own; those of an
        image are read as they are.
    gather : scipy.sparse.csr_array of shape (n_nodes * n_relations, n_copies * n_columns)
        Maps the columns of a row to what its nodes see.
    """

    def __init__(self, shape, edges, is_given):
        n_columns = len(is_given)
        if n_columns > MAX_COLUMNS:
            raise ValueError(
                f"structure covers {n_columns} columns, but up to {MAX_COLUMNS} columns are "
                "supported; use structure=None, or smaller images."
            )
        self.shape, self.edges, self.is_given = shape, edges, is_given
        self.n_given = int(is_given.sum())
        self.n_modelled = n_columns - self.n_given
        relations = _shells(edges, n_columns) if shape is None else _windows(*shape)
        n_channels = 1 if shape is None else shape[2]
        nodes = np.flatnonzero(~is_given.reshape(-1, n_channels).all(axis=1))
        self.n_nodes, self.n_relations = len(nodes), len(relations)
        if self.n_nodes * self.n_relations**2 > MAX_PRODUCTS:
            raise ValueError(
                f"structure={short_repr(shape)} has too many channels; use fewer, or "
                "structure=None."
            )
        self.n_copies = self.n_relations if shape is None else 1
        stack = sparse.vstack if self.n_copies == 1 else sparse.block_diag
        stacked = sparse.csr_array(stack(relations))
        of_node = nodes[:, None] + np.arange(self.n_relations) * relations[0].shape[0]
        self.gather = stacked[of_node.ravel()]
        self._maps = {}

    def maps(self, like):
        """The `Maps` of a tensor's type and device, made once."""
        key = like.dtype, like.device
        if key in self._maps:
            return self._maps[key]
        maps = self._new_maps(like)
        if not torch.compiler.is_compiling():  # the tensors would be stand-ins without values
            self._maps[key] = maps
        return maps

    @torch.inference_mode(False)  # a gradient refuses tensors that were made in it
    def _new_maps(self, like):
        is_given = np.tile(self.is_given, self.n_copies)
        gather = self.gather[:, np.flatnonzero(~is_given)]
        gather_given = self.gather[:, np.flatnonzero(is_given)]
        gram = squares = squares_back = None
        if self.shape is None:  # no node sees another twice, so all products but these are 0
            squares = gather.power(2)
            squares_back = squares.T
        else:
            gram = self._gram(gather)
        parts = gather, gather.T, gram, squares, squares_back, gather_given
        return Maps(*(p if p is None else _tensor(p).to(like) for p in parts))

    def _gram(self, gather):
        """The scalar products of the relations of each node, shape (n_nodes, R, R)."""
        n = self.n_relations
        parts = (gather[k * n : (k + 1) * n].toarray() for k in range(self.n_nodes))
        return np.stack([part @ part.T for part in parts])

    def __getstate__(self):
        return {**vars(self), "_maps": {}}  # quickly made again, and maybe on another device

    def __deepcopy__(self, memo):
        return self  # it never changes, and blocks share it

    def state(self):
        """All that is needed to make it again."""
        shape = None if self.shape is None else list(self.shape)
        return {"shape": shape, "edges": self.edges, "is_given": self.is_given.tolist()}

    @classmethod
    def from_state(cls, state, n_modelled, n_given):
        """The structure of so many columns; ValueError where the state is not sound.

        Those that are given may be more than it has.
        """
        check_keys("structure", state, ("shape", "edges", "is_given"))
        shape, edges, is_given = state["shape"], state["edges"], state["is_given"]
        if not isinstance(is_given, list) or not {*map(type, is_given)} <= {bool}:
            raise ValueError(f"is_given={short_repr(is_given)} must be a list of true and false")
        is_given = np.array(is_given, dtype=bool)
        if (~is_given).sum() != n_modelled or is_given.sum() > n_given:
            raise ValueError(
                f"a structure of {len(is_given)} columns, {is_given.sum()} of them given, must be "
                f"of {n_modelled} and up to {n_given}"
            )
        if shape is None:
            check_ndarray("edges", edges, (len(edges), 2), 0, len(is_given) - 1, dtype=np.int64)
            return cls(None, edges, is_given)
        if not isinstance(shape, list) or len(shape) != 3 or edges is not None:
            raise ValueError(f"structure={short_repr(state)} must have a shape of three, or edges")
        return cls(_checked_shape(tuple(shape), {len(is_given)}), None, is_given)


def structure_of(structure, is_given):
    """The structure that the parameter describes.

    Parameters
    ----------
    structure : tuple of int, array-like or sparse matrix of shape (n_columns, n_columns), or None
        (height, width) or (height, width, channels) of an image; or the adjacency matrix of a
        graph, whose entries other than zero are edges in both directions.
    is_given : ndarray of shape (n_numbers,), bool
        Which of the columns that hold numbers are given. Depending on its size, the structure
        covers all of these columns, or those that are not given.

    Returns
    -------
    structure : Structure or None

    Raises
    ------
    ValueError
        If it does not match the number of columns, has NaN, or is too large.
    """
    if structure is None:
        return None
    is_modelled_alone = np.zeros((~is_given).sum(), dtype=bool)
    known = {len(kind): kind for kind in (is_given, is_modelled_alone)}
    if isinstance(structure, tuple):
        shape = _checked_shape(structure, known)
        return Structure(shape, None, known[math.prod(shape)])
    adjacency = sparse.coo_array(structure)
    n_rows, n_columns = adjacency.shape if adjacency.ndim == 2 else (0, None)
    if n_rows != n_columns or n_columns not in known:
        raise ValueError(
            f"structure has shape {adjacency.shape}; an adjacency matrix must have a row and a "
            f"column for each of the {_counts(known)}. For an image pass a tuple (height, width)."
        )
    if np.isnan(adjacency.data).any():
        raise ValueError("structure has NaN as edges; use 0 where there is no edge.")
    adjacency.eliminate_zeros()
    edges = np.sort(np.stack(adjacency.coords, axis=1).astype(np.int64), axis=1)
    return Structure(None, np.unique(edges[edges[:, 0] < edges[:, 1]], axis=0), known[n_columns])


def _checked_shape(structure, known):
    """(height, width, channels) of an image, checked."""
    shape = (*structure, 1) if len(structure) == 2 else structure
    if len(shape) != 3 or not all(map(is_whole, shape)) or min(shape) < 1:
        raise ValueError(
            f"structure={short_repr(structure)} must be (height, width) or (height, width, "
            "channels) of an image, or the adjacency matrix of a graph."
        )
    shape = tuple(int(n) for n in shape)
    if math.prod(shape) not in known:
        raise ValueError(
            f"structure={short_repr(structure)} is an image of {math.prod(shape)} columns; it must "
            f"cover the {_counts(known)}."
        )
    return shape


def _counts(known):
    """The numbers of columns that a structure may cover, in words."""
    modelled, *all_numbers = sorted(known)
    beside = "".join(f", or the {n} that hold numbers, given ones included" for n in all_numbers)
    return f"{modelled} columns that are modelled{beside}"


def _tensor(array):
    """A NumPy or SciPy array as a tensor; large SciPy arrays stay sparse."""
    if not sparse.issparse(array):
        return torch.tensor(array)
    if math.prod(array.shape) <= MAX_DENSE:
        return torch.tensor(array.toarray())
    array = array.tocoo()
    indices = torch.tensor(np.stack(array.coords), dtype=torch.int64)
    values = torch.tensor(array.data)
    return torch.sparse_coo_tensor(indices, values, array.shape, check_invariants=True).coalesce()


def _windows(height, width, channels):
    """For each direction and channel, the map from an image to what each pixel sees in it."""
    relations = []
    for scale in (GROWTH**k for k in range(MAX_SCALES)):
        if scale > 1 and scale >= max(height, width):
            break
        for dy, dx in itertools.product((-1, 0, 1), repeat=2):
            if scale == 1 or (dy, dx) != (0, 0):
                rows = _block_sums(height, dy * scale, scale)
                window = sparse.kron(rows, _block_sums(width, dx * scale, scale)) / scale
                relations += [sparse.kron(window, unit) for unit in np.eye(channels)[:, None]]
    return [relation for relation in relations if relation.nnz]


def _block_sums(n, shift, size):
    """Sums over `size` of n adjacent places, centred at a distance of `shift` from each place."""
    offsets = [k for k in range(shift - size // 2, shift + size // 2 + 1) if abs(k) < n]
    if not offsets:
        return sparse.coo_array((n, n))
    return sparse.diags_array([1.0] * len(offsets), offsets=offsets, shape=(n, n))


def _shells(edges, n):
    """Maps to the nodes at a distance of 0, 1, ... edges, normalised to about the same size."""
    ends = np.concatenate([edges, edges[:, ::-1]]).T
    n_paths = (np.bincount(ends[0], minlength=n).astype(float) ** 2).sum()
    if n_paths > MAX_PATHS:
        raise ValueError(
            f"structure is a graph with {n_paths:.0f} paths of two edges; up to {MAX_PATHS} are "
            "supported. Leave out edges, or use structure=None."
        )
    adjacency = sparse.csr_array((np.ones(ends.shape[1]), ends), shape=(n, n))
    shell = reached = sparse.eye_array(n, format="csr")
    relations = [shell]
    for _ in range(MAX_HOPS):
        new = ((shell @ adjacency) > 0).astype(float)
        shell = new - new.multiply(reached)
        reached = reached + shell
        roots = np.sqrt(np.maximum(shell.sum(axis=1), 1.0))
        relations.append(shell.multiply(1 / roots[:, None]).multiply(1 / roots))
    return relations
