"""Plain state of a fitted density, and its way back."""

import numpy as np

from sklearn_jko.checks import check_keys, check_ndarray, check_number, check_texts
from sklearn_jko.columns.input_codes import n_codes_given
from sklearn_jko.columns.roles import Roles
from sklearn_jko.files.model_state import (
    categories_from_state,
    flow_from_state,
    flow_state,
    given_rows_from_state,
    history_from_state,
    history_state,
    parts_state,
    roles_from_state,
    scaler_from_state,
)
from sklearn_jko.solver_steps import STEPS
from sklearn_jko.solvers import SCORING_SOLVERS

__all__ = ["attributes_of_flow", "density_state", "restore_density"]


def _as_it_is(value):
    return value


# What `fit` learns, in the order of a file, and how to make it plain; other attributes follow
# from these.
PLAIN = {
    "n_features_in_": _as_it_is,
    "feature_names_in_": np.ndarray.tolist,
    "roles_": Roles.state,
    "categories_": parts_state,
    "given_rows_": _as_it_is,
    "validation_indices_": _as_it_is,
    "noise_width_": _as_it_is,
    "scaling_": _as_it_is,
    "scaler_": parts_state,
    "history_": history_state,
    "flow_": flow_state,
    "solver_error_": _as_it_is,
    "inversion_error_": _as_it_is,
}


def density_state(density):
    """All that a `JKOFlowDensity` has learned; None for what its data did not have."""
    learned = {name: getattr(density, name, None) for name in PLAIN}
    return {name: None if value is None else PLAIN[name](value) for name, value in learned.items()}


def restore_density(density, state):
    """Give a `JKOFlowDensity` what was learned, by its `density_state`.

    Raises
    ------
    ValueError
        If the state is not sound; the density is then as it was.
    """
    check_keys("fitted", state, PLAIN)
    d, names = state["n_features_in_"], state["feature_names_in_"]
    _check_plain(state, d)
    roles = roles_from_state(state["roles_"], d)
    learned = {
        **state,
        "roles_": roles,
        "categories_": categories_from_state(state["categories_"], roles),
        "given_rows_": given_rows_from_state(state["given_rows_"], roles),
        **attributes_of_flow(
            _scoring_flow(state["flow_"], d, roles), history_from_state(state["history_"])
        ),
        "scaler_": scaler_from_state(
            state["scaling_"],
            state["scaler_"],
            d,
            roles,
            whitens=state["flow_"]["structure"] is None,
        ),
        "feature_names_in_": np.array(names, dtype=object),
        "_cache": {},
    }
    if names is None:
        del learned["feature_names_in_"]
    vars(density).update(learned)


def attributes_of_flow(flow, history):
    """The fitted attributes that describe a flow."""
    n_iter = sum(record.n_iter for record in history)
    return {"flow_": flow, "history_": history, "n_blocks_": len(flow.blocks), "n_iter_": n_iter}


def _check_plain(state, d):
    """Raise ValueError unless what is kept as it is goes with d columns."""
    check_number("n_features_in_", d, 1, whole=True)
    check_ndarray("noise_width_", state["noise_width_"], (d,), low=0.0)
    if state["feature_names_in_"] is not None:
        check_texts("feature_names_in_", state["feature_names_in_"], d)
    indices = state["validation_indices_"]
    check_ndarray("validation_indices_", indices, (np.size(indices),), low=0, dtype=np.int64)
    check_number("solver_error_", state["solver_error_"], low=0.0)
    check_number("inversion_error_", state["inversion_error_"], allows_nan=True)


def _scoring_flow(state, d, roles):
    """The flow of such columns, with a solver whose work has a bound."""
    n_modelled, n_given = d if roles is None else len(roles.modelled), n_codes_given(roles)
    flow = flow_from_state(state, n_modelled + n_given)
    if flow.base.n_given != n_given:
        raise ValueError(f"n_given={flow.base.n_given} is not what the columns give")
    if flow.solver not in SCORING_SOLVERS:
        raise ValueError(f"solver={flow.solver!r} must be one of {SCORING_SOLVERS}")
    check_ndarray("n_steps", flow.n_steps, (len(flow.blocks),), 1, STEPS[-1], dtype=np.int64)
    return flow
