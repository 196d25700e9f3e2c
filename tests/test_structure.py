"""Images and graphs: their surroundings, and densities fitted with the parameter `structure`."""

import pickle

import numpy as np
import pytest
import torch
from reference import normal_rows, traces
from scipy import sparse, stats
from sklearn.base import clone
from sklearn.datasets import load_digits
from sklearn.feature_extraction.image import grid_to_graph
from sklearn.model_selection import GridSearchCV

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.export import as_torch_module
from sklearn_jko.flow import JKOBlock
from sklearn_jko.structure import Structure, structure_of
from sklearn_jko.velocities import LocalVelocity

SMALL = {"scaling": "standard", "max_blocks": 2, "max_iter": 30, "random_state": 0}
# A triangle with a tail, and a node by itself.
EDGES = np.array([[0, 1], [1, 2], [0, 2], [2, 3]])
GRAPH = np.zeros((5, 5))
GRAPH[tuple(EDGES.T)] = 1


def modelled(n):
    """Which of n columns are given, where none is."""
    return np.zeros(n, dtype=bool)


def ring(n):
    """Adjacency of a ring of nodes."""
    graph = np.eye(n, k=1) + np.eye(n, k=1 - n)
    return graph + graph.T


def ring_field(n, seed, size=12):
    """Rows of a Gaussian Markov field on a ring, its odd nodes moved by the even ones beside them.

    The determinant of that is 1; the rows' log-densities are returned too.
    """
    law = stats.multivariate_normal(cov=np.linalg.inv(3 * np.eye(size) - ring(size)))
    z = law.rvs(n, random_state=seed)
    X = z + np.where(np.arange(size) % 2, 2 * np.tanh(2 * z @ ring(size)), 0.0)
    return X, law.logpdf(z)


def random_local(structure, n_given=0):
    """A float64 velocity all of whose parameters are random."""
    generator = torch.Generator().manual_seed(0)
    d = structure.n_modelled + n_given
    velocity = LocalVelocity(d, (4, 3), generator, n_given, structure).double()
    with torch.no_grad():
        for parameter in velocity.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator).double() / 2)
    return velocity


def test_a_pixel_sees_its_window_then_means_of_blocks():
    height, width = 10, 11
    image = np.random.default_rng(0).normal(size=(height, width))
    structure = structure_of((height, width), modelled(height * width))
    seen = (structure.gather @ image.ravel()).reshape(height, width, -1)
    padded = np.pad(image, 40)

    def block(y, x, size):
        half = size // 2
        return padded[y + 40 - half : y + 41 + half, x + 40 - half : x + 41 + half].sum() / size

    around = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
    for y, x in ((0, 0), (4, 7), (9, 10)):
        fine = [block(y + dy, x + dx, 1) for dy, dx in around]
        coarse = [
            block(y + size * dy, x + size * dx, size)
            for size in (3, 9)
            for dy, dx in around
            if (dy, dx) != (0, 0)
        ]
        np.testing.assert_allclose(seen[y, x], fine + coarse, atol=1e-12)


def test_channels_stand_side_by_side():
    image = np.random.default_rng(0).normal(size=(3, 3, 2))
    seen = structure_of((3, 3, 2), modelled(18)).gather @ image.ravel()
    np.testing.assert_array_equal(seen.reshape(3, 3, -1)[1, 1], image.ravel())


def test_a_node_sees_itself_and_rings_of_neighbours():
    x = np.array([1.0, 10.0, 100.0, 1000.0, 10_000.0])
    structure = structure_of(GRAPH, modelled(5))
    seen = (structure.gather @ np.tile(x, 3)).reshape(5, 3)
    degree = np.array([2, 2, 3, 1, 1])
    scaled = x / np.sqrt(degree)
    first = (GRAPH + GRAPH.T) @ scaled / np.sqrt(degree)
    second = np.zeros(5)
    # Nodes 0 and 1 are two edges from node 3 alone, and it from both.
    second[[0, 1]], second[3] = x[3] / np.sqrt(2), (x[0] + x[1]) / np.sqrt(2)
    np.testing.assert_allclose(seen, np.c_[x, first, second])


@pytest.mark.parametrize(
    "graph",
    [GRAPH, GRAPH.T, GRAPH + GRAPH.T + np.eye(5), sparse.csr_matrix(7 * GRAPH), GRAPH.tolist()],
    ids=["upper", "lower", "both", "sparse", "list"],
)
def test_an_edge_is_one_whatever_its_direction_and_form(graph):
    np.testing.assert_array_equal(structure_of(graph, modelled(5)).edges, EDGES[[0, 2, 1, 3]])


@pytest.mark.parametrize(("size", "width"), [(28, 32), (48, 32), (28, 256)])
def test_many_rows_of_large_images_are_taken_at_once(size, width):
    """Each part reads all weights, so that parts of a few rows took five times as long."""
    structure = structure_of((size, size), modelled(size**2))
    velocity = LocalVelocity(size**2, (width, width), structure=structure)
    assert JKOBlock(velocity).rows_at_once == 64


@pytest.mark.parametrize(
    "structure", [(3, 4), (2, 2, 3), (1, 12), ring(12)], ids=["image", "colours", "line", "ring"]
)
@pytest.mark.parametrize("n_given", [0, 2])
def test_trace_is_that_of_the_jacobian(structure, n_given):
    velocity = random_local(structure_of(structure, modelled(12)), n_given)
    x = normal_rows(4, 12 + n_given)
    v, trace = velocity.forward_and_trace(0.3, x)
    torch.testing.assert_close(v, velocity(0.3, x))
    torch.testing.assert_close(trace, traces(velocity, 0.3, x))


@pytest.mark.parametrize(
    "structure", [(3, 4), (2, 2, 3), ring(12)], ids=["image", "colours", "ring"]
)
@pytest.mark.parametrize("n_unplaced", [0, 2])
def test_trace_where_columns_of_the_structure_are_given(structure, n_unplaced):
    is_given = np.arange(12) % 5 < 2
    n_given = is_given.sum() + n_unplaced
    velocity = random_local(structure_of(structure, is_given), n_given)
    x = normal_rows(4, 12 + n_unplaced)
    v, trace = velocity.forward_and_trace(0.3, x)
    assert (v[:, -n_given:] == 0).all()
    torch.testing.assert_close(trace, traces(velocity, 0.3, x))
    changed = x.clone()
    changed[:, -n_given:] += 1.0
    assert (velocity(0.3, changed)[:, :-n_given] != v[:, :-n_given]).all()


def test_given_columns_are_seen_apart_by_nodes_that_are_not():
    x = np.array([1.0, 10.0, 100.0, 1000.0, 10_000.0])
    is_given = np.array([False, True, False, True, False])
    whole, parted = structure_of(GRAPH, modelled(5)), structure_of(GRAPH, is_given)
    maps = parted.maps(torch.zeros(1, dtype=torch.float64))
    kinds = (maps.gather, x[~is_given]), (maps.gather_given, x[is_given])
    seen = [gather.numpy() @ np.tile(part, 3) for gather, part in kinds]
    assert (parted.n_nodes, parted.n_modelled, parted.n_given) == (3, 3, 2)
    every_node = (whole.gather @ np.tile(x, 3)).reshape(5, -1)
    np.testing.assert_allclose((seen[0] + seen[1]).reshape(3, -1), every_node[~is_given])


@pytest.mark.parametrize("largest", [0, 10**6], ids=["sparse", "dense"])
@pytest.mark.parametrize("structure", [(3, 4), ring(12)], ids=["image", "ring"])
def test_velocity_of_no_rows(monkeypatch, structure, largest):
    monkeypatch.setattr("sklearn_jko.structure.MAX_DENSE", largest)
    velocity = random_local(structure_of(structure, np.arange(12) > 8), n_given=4)
    v, trace = velocity.forward_and_trace(0.3, torch.zeros(0, 13, dtype=torch.float64))
    assert v.shape == (0, 13)
    assert trace.shape == (0,)


@pytest.mark.parametrize("largest", [0, 10**6], ids=["sparse", "dense"])
@pytest.mark.parametrize("structure", [(3, 4), ring(12)], ids=["image", "ring"])
def test_functions_of_torch_transform_the_velocity(monkeypatch, structure, largest):
    """As a Hessian of an exported log-density needs."""
    monkeypatch.setattr("sklearn_jko.structure.MAX_DENSE", largest)
    velocity, x = random_local(structure_of(structure, modelled(12))), normal_rows(3, 12)

    def trace_at(row):
        return velocity.forward_and_trace(0.3, row[None])[1][0]

    hessians = torch.stack([torch.autograd.functional.hessian(trace_at, row) for row in x])
    torch.testing.assert_close(torch.func.vmap(trace_at)(x), velocity.forward_and_trace(0.3, x)[1])
    torch.testing.assert_close(torch.func.vmap(torch.func.hessian(trace_at))(x), hessians)


@pytest.mark.parametrize("structure", [(3, 4), ring(12)], ids=["image", "ring"])
def test_large_maps_are_sparse_and_the_same(monkeypatch, structure):
    outcomes, parameter = [], structure
    for largest in (0, 2**18):
        monkeypatch.setattr("sklearn_jko.structure.MAX_DENSE", largest)
        structure = structure_of(parameter, np.arange(12) > 8)
        velocity, x = random_local(structure, n_given=3), normal_rows(4, 12)
        v, trace = velocity.forward_and_trace(0.3, x)
        gradients = torch.autograd.grad(v.sum() + trace.sum(), list(velocity.parameters()))
        outcomes.append((v, trace, *gradients))
        assert structure.maps(x).gather.is_sparse == (largest == 0)
    torch.testing.assert_close(*outcomes)


def test_a_node_may_see_the_mean_of_its_neighbours():
    """Which no sum over them is where they differ in number; who is seen scales too."""
    velocity, x = random_local(structure_of(GRAPH, modelled(5))), normal_rows(1, 5)
    roots = torch.tensor([2.0, 2.0, 3.0, 1.0, 1.0]).sqrt()
    with torch.no_grad():
        velocity.in_weight[:, [0, 2]] = 0.0  # of the node, and of nodes two edges away
        velocity.seen_change[:, 1] = 1 / roots - 1
        velocity.shown_change[1] = roots - 1
    mean = torch.tensor(GRAPH + GRAPH.T) @ x[0] / roots**2
    expected = torch.tanh(mean[:, None] * velocity.in_weight[:, 1] + velocity.in_bias)
    first, _ = velocity._activations(0.0, x)
    torch.testing.assert_close(first[:, :, 0], expected)


def test_what_lies_beyond_the_surroundings_does_not_count():
    size = 11
    velocity, x = random_local(structure_of(ring(size), modelled(size))), normal_rows(1, size)
    far = x.clone()
    far[0, 5] += 1.0
    moved = (velocity(0.3, far) != velocity(0.3, x))[0]
    assert moved.tolist() == [abs(k - 5) <= 4 for k in range(size)]  # two edges in, two out


@pytest.mark.parametrize(
    ("structure", "n", "message"),
    [
        (np.full((3, 3), np.nan), 3, "structure has NaN"),
        ((2, 3), 5, "an image of 6 columns; it must cover the 5 columns that are modelled"),
        ((2, 0), 5, "or the adjacency matrix"),
        ((2, 2.5), 5, "or the adjacency matrix"),
        ((5,), 5, "or the adjacency matrix"),
        (np.eye(4), 5, r"structure has shape \(4, 4\)"),
        ([2, 3], 6, r"For an image pass a tuple"),
        ((5000, 1), 5000, "up to 4096 columns"),
        ((2, 2, 1000), 4000, "too many channels"),
        (np.ones((200, 200)), 200, "paths of two edges"),
    ],
)
def test_structures_that_do_not_serve_are_refused(structure, n, message):
    with pytest.raises(ValueError, match=message):
        structure_of(structure, modelled(n))


@pytest.mark.parametrize(
    "state",
    [
        None,
        {"shape": None},
        {"shape": [5, 2, 1], "edges": None, "is_given": [False] * 5},
        {"shape": [5, 1], "edges": None, "is_given": [False] * 5},
        {"shape": [5, 1, 1], "edges": EDGES, "is_given": [False] * 5},
        {"shape": None, "edges": EDGES + 2, "is_given": [False] * 5},
        {"shape": None, "edges": EDGES.astype(float), "is_given": [False] * 5},
        {"shape": None, "edges": EDGES.ravel(), "is_given": [False] * 5},
        {"shape": None, "edges": EDGES, "is_given": [False] * 4},
        {"shape": None, "edges": EDGES, "is_given": [*[False] * 5, True]},
        {"shape": None, "edges": EDGES, "is_given": [0] * 5},
        {"shape": None, "edges": EDGES, "is_given": False},
    ],
)
def test_states_that_are_not_sound_are_refused(state):
    with pytest.raises(ValueError, match=r"must|holds|an image of"):
        Structure.from_state(state, 5, 0)


@pytest.fixture(scope="module")
def on_ring():
    return JKOFlowDensity(**SMALL, structure=ring(12)).fit(ring_field(400, seed=0)[0])


def test_a_field_is_learned_from_fewer_rows_with_its_graph():
    X, _ = ring_field(1000, seed=0)
    X_test, truth = ring_field(4000, seed=1)
    settings = {**SMALL, "max_iter": 200}
    with_graph, without = (
        (truth - JKOFlowDensity(**settings, structure=s).fit(X).score_samples(X_test)).mean()
        for s in (ring(12), None)
    )
    assert 0 < with_graph < 0.6 * without


def test_scores_integrate_over_two_pixels():
    X = np.random.default_rng(0).normal(size=(300, 2)) @ [[1.0, 0.5], [0.0, 0.7]]
    density = JKOFlowDensity(**SMALL, structure=(1, 2)).fit(X)
    axis = np.linspace(-7, 7, 141)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    total = np.exp(density.score_samples(grid)).sum() * (axis[1] - axis[0]) ** 2
    assert density.n_blocks_ > 0
    assert total == pytest.approx(1, abs=1e-3)


def test_the_map_is_inverted(on_ring):
    X, _ = ring_field(50, seed=2)
    np.testing.assert_allclose(on_ring.inverse_transform(on_ring.transform(X)), X, atol=1e-8)
    assert on_ring.solver_error_ <= on_ring.solver_tol


def test_samples_are_of_the_density(on_ring):
    """Rows of nodes without relations would be 20 nats less likely."""
    X, sample = ring_field(500, seed=2)[0], on_ring.sample(500, random_state=0)
    found, expected = (on_ring.score_samples(rows).mean() for rows in (sample, X))
    assert found == pytest.approx(expected, abs=0.8)
    found, expected = (np.cov(rows.T)[ring(12) > 0].mean() for rows in (sample, X))
    assert found == pytest.approx(expected, rel=0.2)


def test_files_pickles_and_clones_keep_it(on_ring, tmp_path):
    X, _ = ring_field(50, seed=2)
    on_ring.save(tmp_path / "ring")
    for again in (JKOFlowDensity.load(tmp_path / "ring"), pickle.loads(pickle.dumps(on_ring))):
        np.testing.assert_array_equal(again.score_samples(X), on_ring.score_samples(X))
        np.testing.assert_array_equal(again.structure, ring(12))
    np.testing.assert_array_equal(clone(on_ring).structure, ring(12))


def test_modules_pickle_as_small_and_learn_after_their_first_use(tmp_path):
    density = JKOFlowDensity(**SMALL, structure=(3, 4)).fit(ring_field(100, seed=0)[0])
    density.save(tmp_path / "density")
    module = as_torch_module(JKOFlowDensity.load(tmp_path / "density"))
    unused, x = len(pickle.dumps(module)), torch.zeros(3, 12, dtype=torch.float64)
    with torch.inference_mode():
        module(x)
    assert len(pickle.dumps(module)) == unused
    module.requires_grad_(True)(x).sum().backward()
    assert all(weight.grad is not None for weight in module.parameters())


@pytest.mark.parametrize(
    "structure", [sparse.csr_array(ring(12)), ring(12) > 0, (3, 4)], ids=["sparse", "bool", "image"]
)
def test_every_form_can_be_saved(structure, tmp_path):
    density = JKOFlowDensity(**SMALL, structure=structure).fit(ring_field(100, seed=0)[0])
    density.save(tmp_path / "density")
    loaded = JKOFlowDensity.load(tmp_path / "density")
    assert loaded.n_blocks_ == density.n_blocks_ > 0
    loaded.fit(ring_field(100, seed=0)[0])
    X, _ = ring_field(20, seed=2)
    np.testing.assert_array_equal(loaded.score_samples(X), density.score_samples(X))


def test_a_file_whose_structure_does_not_go_with_its_network_is_refused(on_ring):
    state = on_ring._state()
    state["fitted"]["flow_"]["structure"] = None
    with pytest.raises(ValueError, match="velocity='local' does not go with structure=None"):
        JKOFlowDensity._from_state(state)


def test_a_checkpoint_is_of_its_structure(tmp_path):
    X, _ = ring_field(100, seed=0)
    path = tmp_path / "fit"
    density = JKOFlowDensity(**SMALL, checkpoint=path, structure=ring(12)).fit(X)
    again = clone(density).set_params(structure=sparse.coo_array(ring(12))).fit(X)
    np.testing.assert_array_equal(again.score_samples(X), density.score_samples(X))
    with pytest.raises(ValueError, match=r"belongs to another fit.*structure"):
        clone(density).set_params(structure=(3, 4)).fit(X)


def test_nodes_given_labels_move_as_these_say():
    """x = z + 2 y of a standard normal z: the law of x given the pattern y is known."""
    rng = np.random.default_rng(0)
    y = rng.integers(2, size=(2500, 6)).astype(float)
    X = np.hstack([rng.normal(size=y.shape) + 2 * y, y])
    settings = {**SMALL, "condition": list(range(6, 12)), "structure": ring(6)}
    density = JKOFlowDensity(**settings).fit(X[:2000])
    truth = stats.norm.logpdf(X[2000:, :6] - 2 * y[2000:]).sum(axis=1)
    assert (truth - density.score_samples(X[2000:])).mean() == pytest.approx(0, abs=0.1)
    pattern = np.array([[1.0, 0, 0, 1, 1, 0]])
    drawn = density.sample(500, random_state=0, condition=pattern)
    np.testing.assert_allclose(drawn[:, :6].mean(axis=0), 2 * pattern[0], atol=0.3)


def shifted_by_labels(n, seed):
    """Normal nodes on a ring, moved where a label beside them is 1, and log p given these."""
    rng = np.random.default_rng(seed)
    z, y = rng.normal(size=(n, 6)), rng.integers(2, size=(n, 6)).astype(float)
    return np.hstack([z + 3 * (y @ ring(6) > 0), y]), stats.norm.logpdf(z).sum(axis=1)


WITH_LABELS = np.block([[ring(6), np.eye(6)], [np.eye(6), np.zeros((6, 6))]])


def test_labels_in_the_graph_are_learned_from_few_rows(tmp_path):
    X, _ = shifted_by_labels(500, seed=0)
    X_test, truth = shifted_by_labels(2000, seed=1)
    settings = {**SMALL, "max_iter": 200, "condition": list(range(6, 12))}
    placed, everywhere = (
        JKOFlowDensity(**settings, structure=graph).fit(X) for graph in (WITH_LABELS, ring(6))
    )
    missed = [(truth - density.score_samples(X_test)).mean() for density in (placed, everywhere)]
    assert 0 < missed[0] < 0.7 * missed[1]
    placed.save(tmp_path / "placed")
    again = JKOFlowDensity.load(tmp_path / "placed")
    np.testing.assert_array_equal(again.score_samples(X_test), placed.score_samples(X_test))


@pytest.mark.parametrize("max_blocks", [0, 1])
def test_what_was_fitted_is_saved_whatever_the_parameter_says_now(max_blocks, tmp_path):
    X, _ = shifted_by_labels(200, seed=0)
    settings = {**SMALL, "max_blocks": max_blocks, "condition": list(range(6, 12))}
    density = JKOFlowDensity(**settings, structure=WITH_LABELS).fit(X)
    density.set_params(structure=None).save(tmp_path / "density")
    again = JKOFlowDensity.load(tmp_path / "density")
    assert again.n_blocks_ == max_blocks
    np.testing.assert_array_equal(again.score_samples(X), density.score_samples(X))


def test_half_an_image_is_given_the_other():
    X = load_digits().data[:300] + np.random.default_rng(0).uniform(size=(300, 64))
    given = [j for j in range(64) if j % 8 >= 4]
    density = JKOFlowDensity(**SMALL, structure=(8, 8), condition=given).fit(X)
    drawn = density.sample(2, random_state=0, condition=X[:3, given])
    np.testing.assert_array_equal(drawn[::2, given], X[:3, given])
    assert density.flow_.blocks[0].velocity.structure.n_nodes == 32
    assert np.isfinite(density.score_samples(X)).all()


def test_a_structure_of_neither_number_of_columns_is_refused():
    X, _ = shifted_by_labels(50, seed=0)
    message = "the 6 columns that are modelled, or the 12 that hold numbers, given ones included"
    with pytest.raises(ValueError, match=message):
        JKOFlowDensity(**SMALL, structure=ring(7), condition=list(range(6, 12))).fit(X)


def test_the_structure_is_that_of_what_is_modelled():
    X = np.c_[ring_field(100, seed=0)[0], np.arange(100) % 3]
    settings = {**SMALL, "columns": {12: "category"}, "condition": [12]}
    assert np.isfinite(JKOFlowDensity(**settings, structure=(3, 4)).fit(X).score(X))
    message = r"structure=\(1, 13\) is an image of 13 columns; it must cover the 12 columns"
    with pytest.raises(ValueError, match=message):
        JKOFlowDensity(**settings, structure=(1, 13)).fit(X)


def test_digits_gain_by_being_images():
    X = load_digits().data + np.random.default_rng(0).uniform(size=(1797, 64))
    settings = {**SMALL, "scaling": "marginal+whiten", "max_blocks": 1, "max_iter": 150}
    scores = [
        JKOFlowDensity(**settings, structure=structure).fit(X[:700]).score(X[700:1100]) / 400
        for structure in ((8, 8), None)
    ]
    assert scores[0] > scores[1] + 1  # nats per row


def test_export_leaves_a_density_of_a_file_as_it_was(on_ring, tmp_path):
    X, _ = ring_field(20, seed=1)
    on_ring.save(tmp_path / "ring.safetensors")
    loaded = JKOFlowDensity.load(tmp_path / "ring.safetensors")
    torch.export.export(as_torch_module(loaded), (torch.tensor(X[:5]),))
    np.testing.assert_array_equal(loaded.score_samples(X), on_ring.score_samples(X))


def test_it_goes_with_search_missing_values_detector_and_torch():
    X, _ = ring_field(120, seed=0)
    graph = grid_to_graph(3, 4)
    plain = JKOFlowDensity(**SMALL)
    search = GridSearchCV(plain, {"structure": [None, graph]}, cv=2, refit=False).fit(X)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    density = JKOFlowDensity(**SMALL, structure=graph)
    module, rows = as_torch_module(density.fit(X)), torch.tensor(X, requires_grad=True)
    scores = module(rows)
    np.testing.assert_allclose(scores.detach(), density.score_samples(X), atol=1e-6)
    shapes = {"X": {0: torch.export.Dim("n")}}
    program = torch.export.export(module, (torch.tensor(X[:5]),), dynamic_shapes=shapes).module()
    torch.testing.assert_close(program(torch.tensor(X)), scores.detach())
    (slope,) = torch.autograd.grad(scores.sum(), rows)
    step = 1e-5 * np.eye(12)[3]
    change = density.score_samples(X + step) - density.score_samples(X - step)
    np.testing.assert_allclose(slope[:, 3], change / 2e-5, rtol=1e-3, atol=1e-4)
    assert JKOFlowOutlierDetector(density=density).fit(X).predict(X).shape == (120,)
    X[::7, 2] = np.nan
    with pytest.warns(UserWarning, match="have missing values"):
        density.fit(X)
    assert np.isfinite(density.score_samples(X)).all()
