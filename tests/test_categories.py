"""Probabilities of categories: closed forms, the chain rule, and what they gain on real data."""

import itertools
import pickle

import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn import config_context
from sklearn.datasets import load_breast_cancer

from sklearn_jko.columns.categories import CategoricalChain, _folds

K = [3, 2, 4]


def dependent_codes(n=400, seed=0, inputs=None):
    """A chain of three columns, each leaning on the one before, and on the first input."""
    rng = np.random.default_rng(seed)
    lean = np.zeros(n) if inputs is None else inputs[:, 0]
    first = np.clip(np.rint(rng.normal(1, 0.8, n) + lean), 0, 2)
    second = rng.random(n) < 0.2 + 0.3 * first
    third = np.clip(np.rint(first + second + rng.normal(0, 0.7, n)), 0, 3)
    return np.stack([first, second, third], axis=1).astype(np.int64)


def some_inputs(n=400, seed=1):
    return np.random.default_rng(seed).normal(size=(n, 2))


def all_codes(n_categories, lowest=-1):
    return np.array(list(itertools.product(*(range(lowest, k) for k in n_categories))))


def test_one_column_has_krichevsky_and_trofimovs_frequencies():
    codes = np.repeat([0, 2, 3], [5, 1, 14])[:, None]
    chain = CategoricalChain().fit(codes, [5])
    found = np.exp(chain.log_prob(np.array([[0], [1], [2], [3], [4], [-1]])))
    np.testing.assert_allclose(found, (np.array([5, 0, 1, 14, 0, 0]) + 0.5) / 23, rtol=1e-13)


def test_probabilities_of_all_codes_add_up_to_one():
    chain = CategoricalChain().fit(dependent_codes(), K)
    log_prob = chain.log_prob(all_codes(K))
    assert np.isfinite(log_prob).all()
    assert abs(np.exp(log_prob).sum() - 1) < 1e-13


@pytest.mark.parametrize("u", [[0.0, 0.0], [1.3, -0.4], [1e300, -1e300]])
def test_probabilities_of_all_codes_add_up_to_one_for_any_inputs(u):
    inputs = some_inputs()
    chain = CategoricalChain().fit(dependent_codes(inputs=inputs), K, inputs)
    codes = all_codes(K)
    log_prob = chain.log_prob(codes, np.tile(u, (len(codes), 1)))
    assert np.isfinite(log_prob).all()
    assert abs(np.exp(log_prob).sum() - 1) < 1e-13


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_the_global_output_of_transformers_does_not_matter(library):
    """The one-hot codes are sparse, which frames are not."""
    usual = CategoricalChain().fit(dependent_codes(), K)
    with config_context(transform_output=library):
        chain = CategoricalChain().fit(dependent_codes(), K)
    np.testing.assert_array_equal(chain.coefficients_, usual.coefficients_)


def test_log_prob_agrees_with_its_slow_twin():
    inputs = some_inputs()
    codes = dependent_codes(inputs=inputs)
    chain = CategoricalChain().fit(codes, K, inputs)
    ends = np.cumsum([0, *(k * f for k, f in zip(K, [3, 6, 8], strict=True))])
    log_prob = np.zeros(len(codes))
    for j, k in enumerate(K):
        matrix = chain.coefficients_[ends[j] : ends[j + 1]].reshape(k, -1)
        one_hot = [np.eye(K[i])[codes[:, i]] for i in range(j)]
        features = np.concatenate([np.ones((len(codes), 1)), inputs, *one_hot], axis=1)
        known = log_softmax(features @ matrix.T, axis=1)[np.arange(len(codes)), codes[:, j]]
        log_prob += known + np.log1p(-chain.unknown_[j])
    np.testing.assert_allclose(chain.log_prob(codes, inputs), log_prob, rtol=1e-12)


def test_the_slopes_minimise_the_penalised_loss(monkeypatch):
    """The gradient of the loss that the docstring tells, by differences, is zero."""
    monkeypatch.setattr("sklearn_jko.columns.categories.FREEDOMS", (0.3,))
    codes = dependent_codes()[:, [0, 2]]
    chain = CategoricalChain().fit(codes, [3, 4])
    start = 3
    matrix = chain.coefficients_[start:].reshape(4, 4)
    features = np.c_[np.ones(len(codes)), np.eye(3)[codes[:, 0]]]
    nothing = np.eye(4)[:1]

    def loss(matrix):
        of_rows = log_softmax(features @ matrix.T, axis=1)[np.arange(len(codes)), codes[:, 1]]
        of_prior = log_softmax(nothing @ matrix.T, axis=1)
        return -of_rows.sum() - of_prior.sum() / 2 + (matrix[:, 1:] ** 2).sum() / 2 / 0.3

    steps = 1e-5 * np.eye(16).reshape(16, 4, 4)
    gradient = [(loss(matrix + step) - loss(matrix - step)) / 2e-5 for step in steps]
    np.testing.assert_allclose(gradient, 0, atol=2e-3)  # of 400 rows


def test_a_chain_finds_the_dependence_that_frequencies_miss():
    train, test = dependent_codes(), dependent_codes(2000, seed=5)
    chain = CategoricalChain().fit(train, K).log_prob(test).mean()
    apart = sum(
        CategoricalChain().fit(train[:, [j]], [k]).log_prob(test[:, [j]]).mean()
        for j, k in enumerate(K)
    )
    assert chain > apart + 0.3


def test_real_columns_against_frequencies_and_the_full_table():
    """Five columns cut into quarters, and the diagnosis; held-out nats per row."""
    data = load_breast_cancer()
    cuts = np.quantile(data.data[:, :4], [0.25, 0.5, 0.75], axis=0)
    columns = [np.searchsorted(cuts[:, j], data.data[:, j]) for j in range(4)]
    codes, n_categories = np.stack([*columns, data.target], axis=1), [4, 4, 4, 4, 2]
    order = np.random.default_rng(0).permutation(len(codes))
    train, test = codes[order[:400]], codes[order[400:]]
    chain = CategoricalChain().fit(train, n_categories).log_prob(test).mean()
    apart = sum(
        CategoricalChain().fit(train[:, [j]], [k]).log_prob(test[:, [j]]).mean()
        for j, k in enumerate(n_categories)
    )
    numbers = [np.ravel_multi_index(part.T, n_categories)[:, None] for part in (train, test)]
    table = CategoricalChain().fit(numbers[0], [512]).log_prob(numbers[1]).mean()
    assert chain > apart + 2
    assert chain > table + 0.2


def noise_with_many_labels(n, seed):
    rng = np.random.default_rng(seed)
    return np.c_[rng.integers(10, size=(n, 4)), rng.integers(2, size=n)]


def test_the_penalty_is_strong_where_there_is_nothing_to_learn(monkeypatch):
    train, test = (noise_with_many_labels(n, seed=n) for n in (100, 2000))
    n_categories = [10, 10, 10, 10, 2]
    truth = -np.log(n_categories).sum()
    chosen = CategoricalChain().fit(train, n_categories).log_prob(test).mean()
    monkeypatch.setattr("sklearn_jko.columns.categories.NUMBERS_TO_CHOOSE", 0)
    usual = CategoricalChain().fit(train, n_categories).log_prob(test).mean()
    assert truth - 0.6 < chosen
    assert usual < chosen - 0.5


def test_folds_divide_the_weights():
    weight = np.array([1.0, 7.0, 0.25, 2.5, 3.0])
    folds = np.array(_folds(weight))
    np.testing.assert_allclose(folds.sum(axis=0), weight, rtol=1e-15)
    assert np.all(folds.max(axis=0) - folds.min(axis=0) <= 1)
    np.testing.assert_array_equal(folds[:, 4], 1)


@pytest.mark.filterwarnings("error")
def test_many_labels_of_few_rows_give_no_warning():
    codes = np.stack([np.arange(30) % 3, np.arange(30)], axis=1)
    chain = CategoricalChain().fit(codes, [3, 40])
    assert np.isfinite(chain.log_prob(codes)).all()


def test_inputs_matter():
    inputs, test_inputs = some_inputs(), some_inputs(2000, seed=7)
    train, test = dependent_codes(inputs=inputs), dependent_codes(2000, 8, test_inputs)
    given = CategoricalChain().fit(train, K, inputs).log_prob(test, test_inputs).mean()
    assert given > CategoricalChain().fit(train, K).log_prob(test).mean() + 0.2


def test_unknown_labels_look_odd_and_say_nothing():
    codes = dependent_codes()
    chain = CategoricalChain().fit(codes, K)
    row = codes[:1].copy()
    row[0, 0] = -1
    assert chain.log_prob(row) < chain.log_prob(codes).min()
    np.testing.assert_allclose(chain.unknown_, 0.5 / (400 + (np.array(K) + 1) / 2))


def test_labels_never_seen_have_a_probability():
    codes = dependent_codes()
    chain = CategoricalChain().fit(codes, [4, 2, 6])
    rows = np.array([[3, 0, 0], [0, 0, 5]])
    probability = np.exp(chain.log_prob(rows))
    assert np.all(probability > 0)
    assert np.all(probability < 1 / 400)
    assert np.isfinite(chain.log_prob(all_codes([4, 2, 6]))).all()


def test_samples_follow_the_probabilities():
    chain = CategoricalChain().fit(dependent_codes(), K)
    codes = all_codes(K, lowest=0)
    drawn = chain.sample(100_000, random_state=0)
    counts = np.bincount(np.ravel_multi_index(drawn.T, K), minlength=len(codes))
    probability = np.exp(chain.log_prob(codes) - np.log1p(-chain.unknown_).sum())
    scatter = (counts - 1e5 * probability) ** 2 / (1e5 * probability)
    assert scatter.sum() < 50  # chi-squared of 23 degrees: one in a thousand


def test_samples_follow_their_inputs():
    inputs = some_inputs()
    chain = CategoricalChain().fit(dependent_codes(inputs=inputs), K, inputs)
    given = np.repeat([[2.0, 0.0], [-2.0, 0.0]], 2000, axis=0)
    drawn = chain.sample(4000, 0, given)
    assert drawn[:2000, 0].mean() > drawn[2000:, 0].mean() + 1
    np.testing.assert_array_equal(drawn, chain.sample(4000, 0, given))
    assert np.any(drawn != chain.sample(4000, 1, given))


@pytest.mark.parametrize("with_inputs", [False, True])
def test_the_order_of_the_rows_does_not_matter_to_the_bit(with_inputs):
    counts = np.random.default_rng(0).integers(0, 4, size=60)
    codes = dependent_codes(60).repeat(counts, axis=0)
    inputs = some_inputs(60).repeat(counts, axis=0) if with_inputs else None
    rows = np.random.default_rng(1).permutation(len(codes))
    chain = CategoricalChain().fit(codes, K, inputs)
    shuffled = CategoricalChain().fit(codes[rows], K, None if inputs is None else inputs[rows])
    for name in CategoricalChain.learned:
        np.testing.assert_array_equal(getattr(chain, name), getattr(shuffled, name))


def test_a_row_does_not_depend_on_its_batch_to_the_bit():
    inputs = some_inputs(3000)
    codes = dependent_codes(3000, inputs=inputs)
    chain = CategoricalChain().fit(codes[:300], K, inputs[:300])
    whole = chain.log_prob(codes, inputs)
    for part in (slice(0, 1), slice(1000, 1003)):
        np.testing.assert_array_equal(chain.log_prob(codes[part], inputs[part]), whole[part])


def test_memory_is_bounded_without_a_change(monkeypatch):
    codes = dependent_codes()
    chain = CategoricalChain().fit(codes, K)
    before = chain.log_prob(codes), chain.sample(50, 0)
    monkeypatch.setattr("sklearn_jko.columns.categories.NUMBERS_AT_ONCE", 28)
    np.testing.assert_array_equal(chain.log_prob(codes), before[0])
    np.testing.assert_array_equal(chain.sample(50, 0), before[1])


def test_codes_may_be_floats_and_a_column_may_have_one_label():
    codes = np.c_[np.zeros(400), dependent_codes()[:, 1]]
    chain = CategoricalChain().fit(codes, [1, 2])
    np.testing.assert_allclose(np.exp(chain.log_prob(all_codes([1, 2]))).sum(), 1)


@pytest.mark.parametrize(
    ("codes", "message"),
    [
        ([[0, 0, 4]], r"categorical column 2: the code 4 must be within \[-1, 3\]"),
        ([[-2, 0, 0]], r"categorical column 0: the code -2 must be within \[-1, 2\]"),
    ],
)
def test_codes_out_of_range_are_told(codes, message):
    chain = CategoricalChain().fit(dependent_codes(), K)
    with pytest.raises(ValueError, match=message):
        chain.log_prob(np.array(codes))
    with pytest.raises(ValueError, match="categorical column"):
        CategoricalChain().fit(np.array(codes), K)


def test_unknown_labels_are_not_learned_from():
    with pytest.raises(ValueError, match=r"column 0: the code -1 must be within \[0, 2\]"):
        CategoricalChain().fit(np.array([[-1, 0, 0]]), K)


def test_inputs_of_another_shape_are_told():
    codes = dependent_codes()
    chain = CategoricalChain().fit(codes, K, some_inputs())
    for wrong in (None, some_inputs(399), some_inputs()[:, :1]):
        with pytest.raises(ValueError, match=r"inputs of the shape .* must be of the shape"):
            chain.log_prob(codes, wrong)
    with pytest.raises(ValueError, match=r"must be of the shape \(5, 2\)"):
        chain.sample(5, 0)


def test_what_was_learned_passes_its_own_check():
    codes = dependent_codes()
    chain = CategoricalChain().fit(codes, K)
    chain.check(3)
    with pytest.raises(ValueError, match="n_categories_"):
        chain.check(2)
    copy = pickle.loads(pickle.dumps(chain))
    np.testing.assert_array_equal(copy.log_prob(codes), chain.log_prob(codes))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("n_categories_", np.array([3, 2, 0])),
        ("n_categories_", np.array([3, 2, 2**62])),
        ("n_categories_", np.array([3.0, 2.0, 4.0])),
        ("n_inputs_", -1),
        ("n_inputs_", 1),
        ("n_inputs_", 0.0),
        ("unknown_", np.zeros(3)),
        ("unknown_", np.full(3, np.nan)),
        ("unknown_", np.ones(3)),
        ("coefficients_", np.zeros(3)),
        ("coefficients_", None),
        ("coefficients_", np.full(39, 1e300)),
    ],
)
def test_damaged_state_is_refused(name, value):
    chain = CategoricalChain().fit(dependent_codes(), K)
    assert chain.coefficients_.shape == (3 * 1 + 2 * 4 + 4 * 6,)
    setattr(chain, name, value)
    with pytest.raises(ValueError, match=r"n_categories_|n_inputs_|unknown_|coefficients_"):
        chain.check(3)
