"""The outlier detector as its users meet it."""

import pickle

import numpy as np
import pandas as pd
import pytest
from conftest import SMALL, two_moons
from scipy.stats import binom
from sklearn.base import clone, is_outlier_detector
from sklearn.metrics import roc_auc_score
from sklearn.neighbors import KDTree

from sklearn_jko import JKOFlowDensity, JKOFlowOutlierDetector
from sklearn_jko.detection.neighbours import SMALLEST_DISTANCE, NeighbourDensity


def small(**changes):
    return JKOFlowOutlierDetector(density=JKOFlowDensity("standard", **SMALL), **changes)


@pytest.fixture(scope="module")
def planted():
    """Rows between the two moons."""
    rng = np.random.default_rng(2)
    return rng.uniform([-1.5, -1.5], [2.5, 1.5], (100, 2)) * [3.0, 0.02] + [1e3, -5.0]


@pytest.fixture(scope="module")
def detector(moons):
    return small().fit(moons[0])


def test_planted_outliers_score_low(moons, planted, detector):
    X, y = np.r_[moons[1], planted], np.r_[np.ones(len(moons[1])), np.zeros(len(planted))]
    assert roc_auc_score(y, detector.score_samples(X)) > 0.85
    assert detector.predict([[1e6, -5.0]]) == -1
    assert is_outlier_detector(detector)


def test_rows_between_clusters_are_outliers():
    """Where the columns' mean is, a normal distribution of all rows is densest."""
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(700, 2)) + np.repeat([[0.0, 0.0], [12.0, 0.0]], 350, axis=0)
    train, normal = rows[::2], rows[1::2]
    between = rng.normal([6.0, 0.0], size=(100, 2))
    detector = small(random_state=0).fit(train)
    assert np.mean(detector.predict(between) == -1) > 0.7
    assert np.mean(detector.predict(normal) == -1) < 0.1


def test_automatic_threshold_is_tukeys_fence(moons, detector):
    low, high = np.quantile(detector.calibration_scores_, [0.25, 0.75])
    assert detector.offset_ == pytest.approx(low - 1.5 * (high - low))
    assert 0 < (detector.predict(moons[1]) == -1).mean() < 0.1


def test_automatic_threshold_of_few_rows_is_that_of_all():
    """By one or two held-out rows most new rows like those of fit were outliers."""
    shares = []
    for seed in range(6):
        rng = np.random.default_rng(seed)
        few = JKOFlowOutlierDetector(random_state=0).fit(rng.normal(size=(12, 3)))
        shares.append(np.mean(few.predict(rng.normal(size=(500, 3))) == -1))
    assert max(shares) < 0.4


@pytest.mark.parametrize("contamination", [0.01, 0.25, 0.5])
def test_contamination_is_the_share_found_among_the_training_rows(moons, contamination):
    detector = small(contamination=contamination).fit(moons[0])
    assert (detector.predict(moons[0]) == -1).sum() == contamination * len(moons[0])


def test_calibration_rows_are_those_held_out(moons, detector):
    held_out = detector.density_.validation_indices_
    scores = np.sort(detector.score_samples(moons[0][held_out]))
    np.testing.assert_allclose(detector.calibration_scores_, scores, rtol=1e-9)
    neighbours = {tuple(row) for row in detector.neighbours_}
    assert not neighbours & {tuple(row) for row in moons[0][held_out]}
    assert len(neighbours) + len(held_out) == len(moons[0])


def test_p_values_are_valid_on_fresh_rows():
    """Over fits, so that the chance of the calibration rows is in the count too."""
    level, hits, n = 0.1, 0, 0
    for seed in range(5):
        detector = small(random_state=seed).fit(two_moons(1000, 10 + seed))
        p = detector.p_values(two_moons(1000, 100 + seed))
        hits, n = hits + (p <= level).sum(), n + len(p)
        assert p.min() >= 1 / (1 + detector.calibration_size_)
    spread = np.sqrt(level * (1 - level) / (5 * 100))  # by 100 calibration rows a fit
    assert abs(hits / n - level) < 3 * spread


@pytest.mark.parametrize(
    ("columns", "n_columns"), [(None, 30), ({0: "category"}, 2)], ids=["scaling", "labels"]
)
def test_p_values_are_valid_where_little_is_learned(columns, n_columns):
    """Nothing may have been fitted to the rows that they are taken from."""

    def table(n):
        X = rng.normal(size=(n, n_columns))
        return X if columns is None else np.c_[rng.integers(100, size=n), X[:, 1:]]

    shares = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        density = JKOFlowDensity("whiten", columns=columns, max_blocks=0, random_state=0)
        detector = JKOFlowOutlierDetector(density=density).fit(table(120))
        shares.append((detector.p_values(table(500)) <= 0.1).mean())
    # By 30 held-out rows of a fit a share is 0.05 off, and the mean of eight 0.02.
    assert np.mean(shares) < 0.15


def test_false_discoveries_are_bounded(moons, planted, detector):
    X = np.r_[moons[1], planted + np.array([0.0, 0.2])]
    found = detector.predict(X, fdr=0.2) == -1
    false = found[: len(moons[1])].sum()
    assert found[len(moons[1]) :].sum() > 50
    assert false <= binom(found.sum(), 0.2).ppf(0.999)


def test_a_rate_that_nothing_can_reach_is_told(moons, detector):
    with pytest.warns(UserWarning, match="80 held-out rows") as told:
        assert (detector.predict(moons[1], fdr=0.01) == 1).all()
    assert {warning.filename for warning in told} == {__file__}


def test_without_outliers_a_batch_has_findings_as_rarely_as_the_rate_says():
    """All findings are false then; without the correction for ten rows nine batches had some."""
    shares = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        density = JKOFlowDensity("whiten", max_blocks=0, random_state=0)
        detector = JKOFlowOutlierDetector(density=density).fit(rng.normal(size=(400, 2)))
        batches = rng.normal(size=(40, 10, 2))
        found = [np.any(detector.predict(batch, fdr=0.2) == -1) for batch in batches]
        shares.append(np.mean(found))
    # By 50 held-out rows of a fit a share is 0.13 off, and the mean of eight 0.05.
    assert 0.05 < np.mean(shares) < 0.35


@pytest.mark.parametrize("fdr", [0.0, 1.0, -0.1, "a", True])
def test_wrong_rate_is_told(moons, detector, fdr):
    with pytest.raises(ValueError, match=f"fdr={fdr!r} must be a number"):
        detector.predict(moons[1], fdr=fdr)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"contamination": 0.6}, "contamination"),
        ({"contamination": 0.0}, "contamination"),
        ({"density": "flow"}, "density"),
    ],
)
def test_wrong_parameters_are_told(moons, params, message):
    with pytest.raises(ValueError, match=message):
        JKOFlowOutlierDetector(**params).fit(moons[0])


def test_explanation_adds_up_to_the_difference_from_the_reference(moons, planted, detector):
    shares, references = detector.explain(planted), detector.references(planted)
    scores = detector.score_samples(planted)
    np.testing.assert_allclose(
        shares.sum(axis=1), scores - detector.score_samples(references), atol=1e-8
    )
    assert {tuple(row) for row in references} <= {tuple(row) for row in moons[0]}
    typical = np.median(detector.score_samples(moons[0]))
    assert detector.score_samples(references).min() > typical - 1


@pytest.mark.parametrize("column", range(4))
def test_explanation_names_the_column_that_was_changed(column):
    rng = np.random.default_rng(0)
    X = rng.normal(size=(500, 4)) @ np.array(
        [[1, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 1]]
    )
    detector = small().fit(X[:400])
    changed = X[400:440].copy()
    changed[:, column] += 8.0
    assert (detector.explain(changed).argmin(axis=1) == column).mean() > 0.9


def test_weights_stand_for_repeated_rows(moons):
    counts = np.random.default_rng(0).integers(0, 3, len(moons[0]))
    repeats = moons[0].repeat(counts, axis=0)
    weighted = small(contamination=0.1).fit(moons[0], sample_weight=counts)
    repeated = small(contamination=0.1).fit(repeats)
    np.testing.assert_allclose(weighted.offset_, repeated.offset_, rtol=1e-9)
    np.testing.assert_allclose(weighted.p_values(moons[1]), repeated.p_values(moons[1]), rtol=1e-9)


def test_other_weights_do_not_bring_training_rows_near_to_themselves(moons):
    weight = np.random.default_rng(0).uniform(0.9, 1.1, len(moons[0]))
    detector = small(contamination=0.1).fit(moons[0], sample_weight=weight)
    assert 0.05 < (detector.predict(moons[1]) == -1).mean() < 0.2
    assert len(np.unique(detector.neighbours_, axis=0)) == len(detector.neighbours_)


@pytest.mark.filterwarnings("ignore:.*repeated values")
def test_weights_count_alike_whether_or_not_they_are_whole():
    """Of a cluster with a tenth of the weight as many neighbours are left as tell so much."""
    rng = np.random.default_rng(0)
    centres = np.repeat([[0.0, 0.0], [20.0, 0.0]], 300, axis=0)
    X, fresh = centres + rng.normal(size=(2, 600, 2))
    weight = np.repeat([10.0, 1.0], 300)
    settings = {"density": JKOFlowDensity("standard", max_blocks=0), "random_state": 0}
    shares, leads = [], []
    for noise in (1.0, rng.uniform(0.999, 1.001, 600)):
        detector = JKOFlowOutlierDetector(**settings).fit(X, sample_weight=weight * noise)
        shares.append(np.mean(detector.neighbours_[:, 0] > 10))
        heavy, light = detector.score_samples(fresh).reshape(2, 300).mean(axis=1)
        leads.append(heavy - light)
    assert shares == pytest.approx([1 / 11] * 2, abs=0.02)
    assert leads[1] == pytest.approx(leads[0], abs=0.8)


def on_a_curve(n, seed):
    rng = np.random.default_rng(seed)
    x = rng.uniform(-3, 3, n)
    return np.c_[x, np.sin(2 * x), np.cos(3 * x)] + 0.03 * rng.normal(size=(n, 3))


@pytest.fixture(scope="module")
def curve_detector():
    density = JKOFlowDensity(max_blocks=2, max_iter=100, random_state=0)
    return JKOFlowOutlierDetector(density=density).fit(on_a_curve(600, 0))


@pytest.mark.parametrize("gaps", [[0], [1], [1, 2], [0, 1, 2]])
def test_gaps_do_not_make_rows_rare(curve_detector, gaps):
    """Completions beside the curve made up to all normal rows outliers."""
    rows = on_a_curve(300, 1)
    rows[:, gaps] = np.nan
    assert np.mean(curve_detector.p_values(rows) <= 0.1) < 0.25
    assert np.mean(curve_detector.predict(rows) == -1) < 0.1
    assert not np.any(curve_detector.predict(rows, fdr=0.2) == -1)


def test_rows_with_gaps_are_outliers_by_what_is_observed(curve_detector):
    rows = on_a_curve(20, 1)
    rows[:, 0], rows[:, 1] = np.nan, 3.0
    assert np.all(curve_detector.predict(rows) == -1)


@pytest.mark.filterwarnings("ignore:.*(repeated values|have missing values)")
@pytest.mark.parametrize("has_gaps", [False, True])
def test_no_row_that_judges_is_a_neighbour(has_gaps):
    """Whether rows are equal by copies, of any weight, or by what they show."""
    rng = np.random.default_rng(0)
    X, weight = np.repeat(rng.normal(size=(200, 2)), 2, axis=0), rng.uniform(0.5, 1.5, 400)
    if has_gaps:
        X, weight = rng.integers(0, 3, (600, 3)).astype(float), None
        X[rng.random(X.shape) < 0.2] = np.nan
    density = JKOFlowDensity("standard", max_blocks=0)
    detector = JKOFlowOutlierDetector(density=density, random_state=0).fit(X, sample_weight=weight)
    held_out = detector.density_.validation_indices_
    if has_gaps:
        assert len(detector.neighbours_) == np.sum(~np.isnan(X).all(axis=1)) - len(held_out)
    else:
        judges = X[held_out]
        assert not np.any((detector.neighbours_[:, None] == judges).all(axis=2))


@pytest.mark.filterwarnings("ignore:.*repeated values")
def test_a_row_with_most_of_the_weight_may_judge():
    rng = np.random.default_rng(0)
    X, weight = rng.normal(size=(100, 2)), rng.uniform(1e-6, 1e-5, 100)
    weight[:2] = 10.0, 1.0
    judges = set()
    for seed in range(8):
        density = JKOFlowDensity("standard", max_blocks=0)
        detector = JKOFlowOutlierDetector(density=density, random_state=seed)
        assert np.isfinite(detector.fit(X, sample_weight=weight).score_samples(X)).all()
        judges |= set(detector.density_.validation_indices_)
    assert 0 in judges


def test_held_out_rows_stand_for_their_share_of_the_weight(moons):
    weight = np.random.default_rng(0).uniform(0.5, 1.5, len(moons[0]))
    detector = small().fit(moons[0], sample_weight=weight)
    size = weight.sum() ** 2 / np.square(weight).sum()
    share = len(detector.calibration_scores_) / len(weight)
    assert detector.calibration_size_ == pytest.approx(share * size)


def test_rows_without_weight_may_hold_anything(moons):
    weight = np.r_[np.ones(50), 0.0, np.ones(len(moons[0]) - 50)]
    X = np.insert(moons[0], 50, np.inf, axis=0)
    detector, plain = small(random_state=0).fit(X, sample_weight=weight), small(random_state=0)
    plain.fit(moons[0])
    np.testing.assert_array_equal(detector.score_samples(moons[1]), plain.score_samples(moons[1]))
    held_out = detector.density_.validation_indices_
    np.testing.assert_array_equal(held_out - (held_out > 50), plain.density_.validation_indices_)


@pytest.mark.filterwarnings("ignore:.*repeated values")
def test_a_common_row_is_as_normal_alone_as_among_its_copies():
    X = np.repeat(np.random.default_rng(0).normal(size=(1, 3)), 200, axis=0)
    X[::10] += np.random.default_rng(1).normal(size=(20, 3))
    detector = small(random_state=0).fit(X)
    assert detector.p_values(X[1:2])[0] == detector.p_values(X[1:9])[0] > 0.5
    assert detector.predict(X[1:2])[0] == 1


def test_an_interrupted_fit_leaves_the_detector_as_it_was(moons, detector, monkeypatch):
    other = pickle.loads(pickle.dumps(detector))
    before = other.score_samples(moons[1])

    def interrupt(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(JKOFlowOutlierDetector, "_index_neighbours", interrupt)
    with pytest.raises(KeyboardInterrupt):
        other.fit(np.c_[moons[0], moons[0][:, 0] ** 2])
    np.testing.assert_array_equal(other.score_samples(moons[1]), before)


@pytest.mark.parametrize(("value", "count"), [(-999.0, 5), (-999_999.0, 1), (1e30, 3)])
def test_values_that_stand_for_missing_ones_do_not_hide_outliers(value, count):
    """They made their column a constant, in which nothing else was found."""
    rng = np.random.default_rng(0)
    X = np.r_[rng.normal(size=(500, 3)), np.tile([value, 0.0, 0.0], (count, 1))]
    normal, odd = rng.normal(size=(2, 200, 3))
    odd[:, 0] = 8.0
    density = JKOFlowDensity("tails+standard", **SMALL)
    detector = JKOFlowOutlierDetector(density=density, random_state=0).fit(X)
    scores = detector.score_samples(np.r_[normal, odd])
    assert roc_auc_score(np.repeat([1, 0], 200), scores) > 0.99
    assert (detector.predict(odd) == -1).all()


def test_extreme_rows_have_finite_scores_and_are_outliers(detector):
    X = np.array([[1e300, 0.0], [0.0, -1e300], [1e3, 1e150]])
    assert np.isfinite(detector.score_samples(X)).all()
    assert (detector.predict(X) == -1).all()
    assert np.isfinite(detector.explain(X)).all()


@pytest.mark.parametrize(
    "X",
    [np.zeros((10, 2)), np.arange(4.0).reshape(2, 2), np.repeat([[0.0], [1.0]], 40, axis=0)],
    ids=["constant", "two rows", "two values"],
)
@pytest.mark.filterwarnings("ignore:.*repeated values")
def test_awkward_tables_fit(X):
    detector = small(random_state=0).fit(X)
    assert np.isfinite(detector.score_samples(X)).all()
    assert detector.predict(X + 1e3).tolist() == [-1] * len(X)


def test_what_the_density_does_the_detector_does(moons, detector):
    density = detector.density_
    np.testing.assert_array_equal(detector.transform(moons[1]), density.transform(moons[1]))
    np.testing.assert_array_equal(detector.sample(3, 0), density.sample(3, 0))
    assert detector.score(moons[1]) == density.score(moons[1])
    back = detector.inverse_transform(detector.transform(moons[1]))
    np.testing.assert_allclose(back, moons[1], rtol=1e-6)


def test_its_density_is_fitted_again_as_any_other(moons):
    """It went on keeping rows to judge by, in pickles but not in files."""
    X = np.random.default_rng(0).normal(size=(60, 2)) ** 3
    inner = small().fit(X).density_.set_params(max_blocks=0).fit(X)
    other = clone(inner).fit(X)
    assert vars(inner).keys() == vars(other).keys()
    np.testing.assert_array_equal(inner.score_samples(X), other.score_samples(X))


def test_names_of_columns_are_kept(moons):
    frame = pd.DataFrame(moons[0], columns=["width", "height"])
    detector = small(random_state=0).set_output(transform="pandas").fit(frame)
    assert detector.feature_names_in_.tolist() == ["width", "height"]
    assert detector.transform(frame).shape == frame.shape
    with pytest.raises(ValueError, match="feature names"):
        detector.predict(frame[["height", "width"]])


def test_names_of_an_earlier_fit_are_forgotten(moons):
    density = JKOFlowDensity("standard", columns={0: (None, None)}, **SMALL)
    detector = JKOFlowOutlierDetector(density=density)
    detector.fit(pd.DataFrame(moons[0], columns=["height", "width"]))
    assert not hasattr(detector.fit(moons[0]), "feature_names_in_")


def test_neighbours_against_a_tree():
    rows = np.random.default_rng(0).normal(size=(90, 3))
    fresh = np.random.default_rng(1).normal(size=(20, 3))
    distances, _ = KDTree(rows).query(fresh, 9)
    slow = -3 * np.log(distances[:, [1, 8]] + SMALLEST_DISTANCE * np.sqrt(3)).mean(axis=1)
    np.testing.assert_allclose(NeighbourDensity(rows).score_samples(fresh), slow)
    own = NeighbourDensity(rows).score_samples(rows)
    others = [
        NeighbourDensity(np.delete(rows, i, axis=0)).score_samples(rows[i : i + 1])
        for i in range(90)
    ]
    np.testing.assert_allclose(own, np.concatenate(others), rtol=1e-6)
