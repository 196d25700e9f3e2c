"""Which columns of a table lie near which: the pixels of an image, or the nodes of a graph."""

import itertools
from numbers import Integral
from typing import NamedTuple

import numpy as np
import torch
from scipy import sparse

from sklearn_jko.checks import check_array, check_keys, shown

__all__ = ["Structure", "structure_of"]

# A node's own, and its neighbours' neighbours: what the velocity sees at once. Time carries it on.
MAX_HOPS = 2
# Pixels, blocks of 3 x 3 and blocks of 9 x 9: a window of 27 x 27.
MAX_SCALES, GROWTH = 3, 3
# What keeps the maps of the surroundings under some hundred MB.
MAX_COLUMNS, MAX_PATHS, MAX_PRODUCTS = 4096, 2**22, 2**24


class Maps(NamedTuple):
    """Tensors of a structure: what nodes see, its transpose, and the Gram matrix of each node's."""

    gather: torch.Tensor  # sparse, of shape (n_nodes * n_relations, n_columns)
    scatter: torch.Tensor
    gram: torch.Tensor  # of shape (n_nodes, n_relations, n_relations)


class Structure:
    """The surroundings of every node of an image or a graph, as a linear map of the columns.

    Parameters
    ----------
    shape : tuple of int (height, width, channels), or None
        Of an image, whose columns are in C order. What a pixel sees is the 3 x 3 window around it
        and, as far as the image goes, the blocks of 3 x 3 and 9 x 9 pixels around that, summed to
        unit variance of independent pixels; beyond the edge all is zero.
    edges : ndarray of shape (n_edges, 2), int, or None
        Of a graph with one column a node. What a node sees is itself, a sum over its neighbours
        and one over the nodes two edges away, in which a node counts by one over the root of the
        numbers of such neighbours that it and the other have.
    n_columns : int

    Attributes
    ----------
    n_nodes, n_relations : int
        How many there are, and how many numbers each of them sees.
    gather : scipy.sparse.coo_array of shape (n_nodes * n_relations, n_columns)
        From a row's columns to what its nodes see.
    """

    def __init__(self, shape, edges, n_columns):
        if n_columns > MAX_COLUMNS:
            raise ValueError(
                f"A structure is for up to {MAX_COLUMNS} columns; there are {n_columns}. Use "
                "structure=None, or smaller images."
            )
        self.shape, self.edges, self.n_columns = shape, edges, n_columns
        relations = _shells(edges, n_columns) if shape is None else _windows(*shape)
        self.n_nodes, self.n_relations = relations[0].shape[0], len(relations)
        if self.n_nodes * self.n_relations**2 > MAX_PRODUCTS:
            raise ValueError(f"structure={shown(shape)} has too many channels; use structure=None.")
        stacked = sparse.vstack(relations).tocsr()
        of_node = np.arange(stacked.shape[0]).reshape(self.n_relations, self.n_nodes).T.ravel()
        self.gather = stacked[of_node].tocoo()
        self._maps = {}

    def maps(self, like):
        """The `Maps` of a tensor's type and device, made once."""
        key = like.dtype, like.device
        if key not in self._maps:
            gather = torch.sparse_coo_tensor(
                torch.tensor(np.stack(self.gather.coords), dtype=torch.int64),
                torch.tensor(self.gather.data),
                self.gather.shape,
                check_invariants=True,
            )
            maps = gather.coalesce(), gather.T.coalesce(), torch.tensor(self._gram())
            self._maps[key] = Maps(*(tensor.to(like) for tensor in maps))
        return self._maps[key]

    def _gram(self):
        """The scalar products of the relations of each node, shape (n_nodes, R, R)."""
        rows, n = self.gather.tocsr(), self.n_relations
        parts = (rows[k * n : (k + 1) * n].toarray() for k in range(self.n_nodes))
        return np.stack([part @ part.T for part in parts])

    def __deepcopy__(self, memo):
        return self  # nothing of it changes, and blocks share it

    def state(self):
        """All that it takes to make it again."""
        return {"shape": None if self.shape is None else list(self.shape), "edges": self.edges}

    def plain(self):
        """The same as a text can hold it."""
        return {**self.state(), "edges": None if self.edges is None else self.edges.tolist()}

    @classmethod
    def from_state(cls, state, n_columns):
        """The structure of so many columns; ValueError where the state is not sound."""
        check_keys("structure", state, ("shape", "edges"))
        shape, edges = state["shape"], state["edges"]
        if shape is None:
            check_array("edges", edges, (len(edges), 2), 0, n_columns - 1, dtype=np.int64)
            return cls(None, edges, n_columns)
        if not isinstance(shape, list) or len(shape) != 3 or edges is not None:
            raise ValueError(f"structure={shown(state)} must be a shape of three or edges")
        return cls(_checked_shape(tuple(shape), n_columns), None, n_columns)


def structure_of(structure, n_columns):
    """The structure that a parameter describes.

    Parameters
    ----------
    structure : tuple of int, array-like or sparse matrix of shape (n_columns, n_columns), or None
        (height, width) or (height, width, channels) of an image; or the adjacency matrix of a
        graph, whose entries other than zero are edges in both directions.
    n_columns : int

    Returns
    -------
    structure : Structure or None

    Raises
    ------
    ValueError
        If it does not go with so many columns.
    """
    if structure is None:
        return None
    if isinstance(structure, tuple):
        shape = (*structure, 1) if len(structure) == 2 else structure
        return Structure(_checked_shape(shape, n_columns), None, n_columns)
    adjacency = sparse.coo_array(structure)
    if adjacency.shape != (n_columns, n_columns):
        raise ValueError(
            f"structure has shape {adjacency.shape}; an adjacency matrix must have a row and a "
            f"column for each of the {n_columns} columns that are modelled. For an image give a "
            "tuple (height, width)."
        )
    adjacency.eliminate_zeros()
    edges = np.sort(np.stack(adjacency.coords, axis=1).astype(np.int64), axis=1)
    return Structure(None, np.unique(edges[edges[:, 0] < edges[:, 1]], axis=0), n_columns)


def _checked_shape(shape, n_columns):
    are_whole = all(isinstance(n, Integral) and not isinstance(n, bool) for n in shape)
    if len(shape) != 3 or not are_whole or min(shape) < 1:
        raise ValueError(
            f"structure={shown(shape)} must be (height, width) or (height, width, channels) of an "
            "image, or the adjacency matrix of a graph."
        )
    shape = tuple(int(n) for n in shape)
    height, width, channels = shape
    if height * width * channels != n_columns:
        raise ValueError(
            f"structure={shown(shape)} is an image of {height * width * channels} columns; "
            f"{n_columns} are modelled."
        )
    return shape


def _windows(height, width, channels):
    """For each direction and channel, the map from an image to what each pixel sees there."""
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
    """Sums over `size` of n places in a row, around the place at `shift` from each."""
    offsets = [k for k in range(shift - size // 2, shift + size // 2 + 1) if abs(k) < n]
    if not offsets:
        return sparse.coo_array((n, n))
    return sparse.diags_array([1.0] * len(offsets), offsets=offsets, shape=(n, n))


def _shells(edges, n):
    """Maps to the nodes at a distance of 0, 1, ... edges, of about the same size for all."""
    ends = np.concatenate([edges, edges[:, ::-1]]).T
    n_paths = (np.bincount(ends[0], minlength=n).astype(float) ** 2).sum()
    if n_paths > MAX_PATHS:
        raise ValueError(
            f"structure is a graph with {n_paths:.0f} paths of two edges, of which {MAX_PATHS} are "
            "the most; leave out edges, or use structure=None."
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
