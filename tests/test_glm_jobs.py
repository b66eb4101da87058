"""The job of generalized linear models, and what the other jobs make of its models."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from sparkdml import LocalData, load_model
from sparkdml.regression import PoissonRegression

Run = Callable[..., Any]

RNG = np.random.default_rng(4)
TABLE = pd.DataFrame(RNG.normal(size=(150, 2)), columns=["age", "power"]).assign(exposure=RNG.random(150).round(3))
TABLE = TABLE.assign(claims=RNG.poisson(np.exp(0.3 * TABLE.age - 0.5 * TABLE.power + TABLE.exposure)))


def test_without_an_input_it_trains_on_the_sample(run: Run) -> None:
    ended = run("train_glm")
    assert (ended.code, ended.result["status"], ended.result["rows"]) == (0, "trained", 442)
    assert ended.result["converged"]
    assert all(name in ended.out for name in ("bmi", "Residual deviance", "Pr(>|t|)"))


def test_a_published_model_scores_and_is_evaluated_with_its_offset(run: Run, tmp_path: Path) -> None:
    TABLE.to_csv(tmp_path / "claims.csv", index=False)
    given = ("--input", tmp_path / "claims.csv")
    argv = (*given, "--label", "claims", "--family", "poisson", "--offset-col", "exposure", "--tol", "1e-10")
    trained = run("train_glm", *argv, "--output", tmp_path / "model")
    assert trained.code == 0, trained.result
    expected = PoissonRegression(tol=1e-10).fit(
        LocalData(TABLE[["age", "power"]].to_numpy(), TABLE.claims.to_numpy(), None, TABLE.exposure.to_numpy())
    )
    assert trained.result["metrics"] == pytest.approx(expected.summary.metrics(), rel=1e-7)
    assert "Pr(>|z|)" in trained.out
    scored = run("predict", "--model", tmp_path / "model", *given, "--output", tmp_path / "scores")
    assert (scored.code, scored.result["rows_null"]) == (0, 0), scored.result
    means = load_model(str(tmp_path / "model")).predict(TABLE, TABLE.exposure.to_numpy())  # type: ignore[call-arg]
    np.testing.assert_allclose(np.sort(pd.read_parquet(tmp_path / "scores").prediction), np.sort(means), rtol=1e-9)
    ended = run("evaluate", "--model", tmp_path / "model", *given, "--output", tmp_path / "report")
    assert ended.code == 0, ended.result
    found = json.loads((tmp_path / "report" / "metrics.json").read_text())["metrics"]
    np.testing.assert_allclose(list(found.values()), list(trained.result["metrics"].values()), rtol=1e-7)
    wrong = run("train_glm", *given, "--label", "claims", "--family", "poisson", "--link", "logit")
    assert (wrong.code, "does not go with family='poisson'" in wrong.result["error"]) == (64, True)
