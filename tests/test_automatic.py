"""What parameters that are "auto" become."""

import itertools

import numpy as np
import pytest

from sklearn_jko import JKOFlowDensity
from sklearn_jko.structure import structure_of
from sklearn_jko.training.automatic import ROWS_TO_TURN_AXES, training_options


def options(n, d=10, structure=None, n_held_out=50, **parameters):
    return training_options(JKOFlowDensity(**parameters), n, d, n_held_out, structure=structure)


IMAGE, GRAPH = (8, 4), np.eye(32, k=1) + np.eye(32, k=-1)
# "Automatic settings" in the docstring of JKOFlowDensity, on both sides of each threshold:
# rows, columns, structure; widths, batch, SOAP, learning rate, weight decay.
DOCUMENTED = [
    (100, 1, None, 64, 256, False, 0.01, 2.0),
    (100, 2, None, 64, 256, False, 0.01, 3.0),
    (699, 2, None, 64, 256, False, 0.01, 400 / 699),
    (700, 2, None, 64, 256, True, 0.02, 400 / 700),
    (2999, 40, None, 64, 256, True, 0.02, 8000 / 2999),
    (3000, 31, None, 128, 256, True, 2 / 128, 6200 / 3000),
    (3000, 32, None, 256, 256, True, 2 / 256, 6400 / 3000),
    (20_000, 10, None, 128, 256, True, 2 / 128, 0.1),
    (50_000, 10, None, 128, 256, True, 2 / 128 * 0.4**0.5, 0.04),
    (50_000, 40, None, 256, 256, True, 2 / 256 * 0.4**0.5, 0.16),
    (50_001, 40, None, 256, 512, True, 2 / 256 * (20_000 / 50_001) ** 0.5, 8000 / 50_001),
    (10**6, 10, None, 128, 256, True, 2 / 128 * 0.3, 0.002),
    (100, 32, IMAGE, 32, 128, True, 0.4 * 0.02, 0.3),
    (100, 32, GRAPH, 32, 128, True, 0.4 * 0.02, 1.5),
    (10**6, 32, IMAGE, 32, 128, True, 0.4 * 0.02, 0.00064),
    (10**6, 32, GRAPH, 32, 128, True, 0.4 * 0.02, 0.0032),
]


@pytest.mark.parametrize("documented", DOCUMENTED, ids=lambda row: f"{row[0]}x{row[1]}")
def test_automatic_settings_are_the_documented_ones(documented):
    n, d, structure, width, batch, by_soap, *numbers = documented
    if structure is not None:
        structure = structure_of(structure, np.zeros(d, dtype=bool))
    found = options(n, d, structure)
    assert found.hidden_layer_sizes == (width, width)
    assert (found.batch_size, found.turns_axes, found.max_iter) == (batch, by_soap, 1000)
    assert [found.learning_rate, found.weight_decay] == pytest.approx(numbers)


@pytest.mark.parametrize(("width", "rate"), [(32, 0.01), (65, 0.64 / 65), (128, 0.005)])
def test_adamw_learns_as_slowly_as_documented(width, rate):
    found = options(699, hidden_layer_sizes=(8, width))
    assert found.learning_rate == pytest.approx(rate)


@pytest.mark.parametrize("structure", [IMAGE, GRAPH], ids=["image", "graph"])
def test_wide_structures_are_learned_slower(structure):
    structure = structure_of(structure, np.zeros(32, dtype=bool))
    found = options(100, 32, structure, hidden_layer_sizes=(200, 8))
    assert found.learning_rate == pytest.approx(0.4 * 2 / 200)


@pytest.mark.parametrize("width", [32, 128, 512])
def test_more_rows_and_wider_networks_are_learned_slower(width):
    rates = [
        options(n, hidden_layer_sizes=(width, width)).learning_rate
        for n in (1000, 20_000, 80_000, 10**6, 10**9)
    ]
    assert rates[0] == rates[1] == min(2 / width, 0.02)
    assert rates[2] == pytest.approx(rates[0] / 2)
    assert rates[3] == rates[4] == pytest.approx(0.3 * rates[0])


def test_rates_fall_without_jumps():
    rates = [options(n).learning_rate for n in range(3000, 500_000, 1000)]
    assert all(0.97 * before < after <= before for before, after in itertools.pairwise(rates))


def test_only_wide_networks_on_many_rows_take_large_batches():
    sizes = {(n, d): options(n, d).batch_size for n in (300, 5000, 10**6) for d in (2, 10, 60)}
    assert {case for case, size in sizes.items() if size == 512} == {(10**6, 60)}
    assert set(sizes.values()) == {256, 512}


def test_few_rows_are_learned_by_adamw():
    few, more = options(ROWS_TO_TURN_AXES - 1), options(ROWS_TO_TURN_AXES)
    assert not few.turns_axes
    assert more.turns_axes
    assert few.learning_rate < more.learning_rate


def test_structures_are_held_back_less():
    is_given = np.zeros(4, dtype=bool)
    structures = None, structure_of(np.eye(4, k=1) + np.eye(4, k=-1), is_given)
    plain, graph = (options(1000, 4, structure=s).weight_decay for s in structures)
    image = options(1000, 4, structure=structure_of((2, 2), is_given)).weight_decay
    assert image < graph < plain


def test_what_the_user_says_stands():
    said = options(10**6, learning_rate_init=0.5, weight_decay=0.1, batch_size=7, max_iter=9)
    assert (said.learning_rate, said.weight_decay) == (0.5, 0.1)
    assert (said.batch_size, said.max_iter) == (7, 9)


@pytest.mark.parametrize("kind", [np.int8, np.int64])
def test_integers_of_numpy_do_not_overflow(kind):
    sizes = {"max_blocks": 8, "n_refinements": 70, "max_iter": 100, "batch_size": 120}
    theirs = {name: kind(size) for name, size in sizes.items()}
    assert options(1000, **theirs).n_visits == options(1000, **sizes).n_visits > 2**70
    widths = options(1000, hidden_layer_sizes=np.array([100, 50], dtype=kind)).hidden_layer_sizes
    assert widths[0] * 4096 == 409_600


@pytest.mark.parametrize("h", [0, -1.0, float("nan"), "1"])
def test_step_sizes_that_are_none_are_told(h):
    with pytest.raises(ValueError, match=r"step_size\(0\) is"):
        options(100, step_size=lambda k: h)
