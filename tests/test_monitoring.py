"""Lines of the log."""

import logging

import pytest
from conftest import SMALL

from sklearn_jko import JKOFlowDensity


@pytest.fixture
def estimator():
    return JKOFlowDensity("standard", **{**SMALL, "max_iter": 30})


def test_verbose_prints_a_line_a_block(moons, estimator, capsys):
    estimator.set_params(verbose=True).fit(moons[0])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(estimator.history_)
    for number, (line, record) in enumerate(zip(lines, estimator.history_, strict=True), 1):
        assert line.startswith(f"block {number} (")
        assert f"held-out NLL {record.validation_nll:.3f}" in line
        assert ("dropped" in line) != record.kept


def test_lines_go_to_the_logger_where_it_shows_them(moons, estimator, capsys, caplog):
    with caplog.at_level(logging.INFO, "sklearn_jko"):
        estimator.set_params(verbose=True).fit(moons[0])
    assert len(caplog.messages) == len(estimator.history_)
    assert capsys.readouterr().out == ""


def test_verbose_prints_where_a_logger_shows_nothing(moons, estimator, capsys, monkeypatch):
    monkeypatch.setattr(logging.getLogger("sklearn_jko"), "hasHandlers", lambda: False)
    logging.getLogger("sklearn_jko").setLevel(logging.INFO)
    try:
        estimator.set_params(verbose=True).fit(moons[0])
    finally:
        logging.getLogger("sklearn_jko").setLevel(logging.NOTSET)
    assert capsys.readouterr().out.startswith("block 1")


def test_a_fit_is_silent_by_default(moons, estimator, capsys):
    estimator.fit(moons[0])
    assert capsys.readouterr().out == ""
