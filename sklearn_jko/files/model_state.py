"""Plain states of a flow, its scaling and its history, and their way back."""

import dataclasses
from itertools import pairwise

import numpy as np
import torch

from sklearn_jko.bases import StandardNormal
from sklearn_jko.checks import (
    check_choice,
    check_keys,
    check_list,
    check_ndarray,
    check_number,
    short_repr,
)
from sklearn_jko.columns.category_model import CategoryModel
from sklearn_jko.columns.roles import Roles
from sklearn_jko.flow import JKOBlock, JKOFlow
from sklearn_jko.solvers import SOLVERS
from sklearn_jko.structure import Structure
from sklearn_jko.table_scaler import make_table_scaler
from sklearn_jko.training.block_training import BlockRecord
from sklearn_jko.velocities import VELOCITIES

__all__ = [
    "categories_from_state",
    "flow_from_state",
    "flow_state",
    "given_rows_from_state",
    "history_from_state",
    "history_state",
    "parts_state",
    "restore_parts",
    "roles_from_state",
    "scaler_from_state",
]

MAX_COUNT = 2**63 - 1


def flow_state(flow):
    """All of a fitted flow as names, numbers and arrays."""
    n_steps = np.broadcast_to(flow.n_steps, len(flow.blocks)).astype(np.int64)
    return {
        "n_given": flow.base.n_given,
        "solver": flow.solver,
        "n_steps": n_steps,
        "structure": _structure_state(flow),
        "blocks": [_block_state(block) for block in flow.blocks],
    }


def flow_from_state(state, n_features):
    """The flow, on the CPU, for rows with this number of columns, including encoded inputs.

    Raises
    ------
    ValueError
        If the state is not sound.
    """
    check_keys("flow", state, ("n_given", "solver", "n_steps", "structure", "blocks"))
    check_number("n_given", state["n_given"], 0, n_features - 1, whole=True)
    check_choice("solver", state["solver"], SOLVERS)
    check_list("blocks", state["blocks"])
    n_blocks = len(state["blocks"])
    check_ndarray("n_steps", state["n_steps"], (n_blocks,), low=1, dtype=np.int64)
    n_given = state["n_given"]
    structure = state["structure"]
    if structure is not None:
        if n_blocks == 0:
            raise ValueError("a flow without blocks has no structure")
        structure = Structure.from_state(structure, n_features - n_given, n_given)
    blocks = [_block_from_state(s, n_features, n_given, structure) for s in state["blocks"]]
    flow = JKOFlow(blocks, StandardNormal(n_given), state["solver"], state["n_steps"])
    return flow.eval().requires_grad_(False)


def parts_state(model):
    """What each part of a scaler or model has learned, in their order."""
    return [{name: getattr(part, name) for name in part.learned} for part in _parts(model)]


def restore_parts(model, state):
    """Put what was learned into an unfitted scaler or model, which must check it.

    Raises
    ------
    ValueError
        If the number of parts or what they have learned does not match.
    """
    check_list(type(model).__name__, state)
    parts = _parts(model)
    if len(state) != len(parts):
        raise ValueError(f"a {type(model).__name__} has {len(parts)} parts, not {len(state)}")
    for part, learned in zip(parts, state, strict=True):
        check_keys(type(part).__name__, learned, part.learned)
        vars(part).update(learned)


def scaler_from_state(name, state, n_features, roles, whitens):
    """The fitted scaler of this name for so many columns of these roles, or of none.

    Raises
    ------
    ValueError
        If the name is unknown, or the state not sound.
    """
    if not isinstance(name, str):
        raise ValueError(f"scaling_={short_repr(name)} must be a name")
    scaler = make_table_scaler(name, roles, whitens=whitens)
    restore_parts(scaler, state)
    scaler.check(n_features if roles is None else len(roles.columns))
    return scaler


def roles_from_state(state, d):
    """The roles of d columns; None if they have none.

    Raises
    ------
    ValueError
        If the state is not sound.
    """
    roles = None if state is None else Roles.from_state(state)
    if roles is not None and (len(roles.columns) != d or len(roles.modelled) == 0):
        raise ValueError(f"roles_ of {len(roles.columns)} columns must be of {d}, some to model")
    return roles


def categories_from_state(state, roles):
    """The model of the categories that are not given; None if there are none.

    Raises
    ------
    ValueError
        If the state is not sound, or goes with other roles.
    """
    if (state is None) != (roles is None or len(roles.modelled_categories) == 0):
        raise ValueError(f"categories_={short_repr(state)} does not go with roles_")
    if state is None:
        return None
    model = CategoryModel.of_roles(roles)
    restore_parts(model, state)
    model.check()
    return model


def given_rows_from_state(state, roles):
    """Given values of some rows in `fit`; None if no column is given.

    Raises
    ------
    ValueError
        If the state is not sound, or goes with other roles.
    """
    given = [] if roles is None else roles.given
    if (state is None) != (len(given) == 0):
        raise ValueError(f"given_rows_={short_repr(state)} does not go with roles_")
    if state is None:
        return None
    check_ndarray("given_rows_", state, (max(np.size(state) // len(given), 1), len(given)))
    n_labels = roles.n_labels_of(given)
    for codes, n in zip(state.T[n_labels > 0], n_labels[n_labels > 0], strict=True):
        check_ndarray("given_rows_", codes, (len(codes),), low=0.0, high=n - 1.0)
    return state


def history_state(history):
    """The records of all blocks tried."""
    return [dataclasses.asdict(record) for record in history]


def history_from_state(state):
    """The list of `BlockRecord`.

    Raises
    ------
    ValueError
        If the state is not sound.
    """
    check_list("history", state)
    return [_record_from_state(record) for record in state]


def _record_from_state(state):
    fields = dataclasses.fields(BlockRecord)
    check_keys("record", state, [field.name for field in fields])
    for field in fields:
        value = state[field.name]
        if field.type is float:
            check_number(field.name, value, allows_nan=True)
        elif field.type is int:
            check_number(field.name, value, 0, MAX_COUNT, whole=True)
        elif not isinstance(value, bool):
            raise ValueError(f"{field.name} must be true or false; it is {short_repr(value)}")
    return BlockRecord(**state)


def _block_state(block):
    velocity = block.velocity
    weights = {name: tensor.cpu().numpy() for name, tensor in velocity.state_dict().items()}
    return {
        "t0": block.t0,
        "t1": block.t1,
        "velocity": _name_of(type(velocity), VELOCITIES),
        "hidden_layer_sizes": list(velocity.hidden_layer_sizes),
        "weights": weights,
    }


def _structure_state(flow):
    """The structure of the columns of its blocks; None if they have none."""
    structures = [block.velocity.structure for block in flow.blocks]
    return structures[0].state() if any(structures) else None


def _block_from_state(state, n_features, n_given, structure):
    check_keys("block", state, ("t0", "t1", "velocity", "hidden_layer_sizes", "weights"))
    check_number("t0", state["t0"], 0.0, 1.0)
    check_number("t1", state["t1"], 0.0, 1.0)
    if not state["t0"] < state["t1"]:
        raise ValueError(f"t0={state['t0']} must be less than t1={state['t1']}")
    velocity = _velocity_from_state(state, n_features, n_given, structure)
    return JKOBlock(velocity, state["t0"], state["t1"])


def _velocity_from_state(state, n_features, n_given, structure):
    name, hidden, weights = state["velocity"], state["hidden_layer_sizes"], state["weights"]
    check_choice("velocity", name, VELOCITIES)
    check_list("hidden_layer_sizes", hidden)
    for width in hidden:
        check_number("width", width, 1, MAX_COUNT, whole=True)
    if (name == "local") != (structure is not None):
        raise ValueError(f"velocity={name!r} does not go with structure={short_repr(structure)}")
    if structure is None:
        _check_room([n_features, *hidden, n_features - n_given], weights)
    else:
        side = max(structure.n_nodes, structure.n_relations)
        n_unplaced = n_given - structure.n_given
        _check_room([side + structure.n_nodes * n_unplaced, *hidden, side], weights)
    # With a generator of its own, so as not to use torch's global one.
    velocity = VELOCITIES[name](n_features, hidden, torch.Generator(), n_given, structure)
    shapes = {key: tuple(tensor.shape) for key, tensor in velocity.state_dict().items()}
    check_keys("weights", weights, shapes)
    for key, shape in shapes.items():
        check_ndarray(key, weights[key], shape)
    tensors = {key: torch.tensor(array, device="cpu") for key, array in weights.items()}
    velocity.load_state_dict(tensors, assign=True)
    return velocity


def _check_room(widths, weights):
    """Refuse widths that do not fit the weights, before anything of that size is allocated."""
    if not isinstance(weights, dict) or len(widths) - 2 > len(weights):
        raise ValueError(f"weights={short_repr(weights)} are too few for {len(widths) - 2} layers")
    if sum(a * b for a, b in pairwise(widths)) > sum(np.size(array) for array in weights.values()):
        raise ValueError(
            f"hidden_layer_sizes={short_repr(widths[1:-1])} are wider than the weights"
        )


def _parts(model):
    """All parts that have learned anything, innermost first."""
    inner = [part for child in getattr(model, "parts", ()) for part in _parts(child)]
    return [*inner, model] if hasattr(model, "learned") else inner


def _name_of(cls, table):
    for name, entry in table.items():
        if entry is cls:
            return name
    raise ValueError(f"a {cls.__name__} cannot be saved: its table is {list(table)}")
