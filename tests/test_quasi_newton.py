"""The L-BFGS matrix: its quadratic model is minimized to the optimum under L1 and within a box."""

import numpy as np
import pytest

from sparkdml.optim.penalties import L1
from sparkdml.optim.solvers.quasi_newton import Model, inverse_times, orthonormal

N = 60
PENALTIES = {
    "none": L1(np.zeros(N)),
    "l1": L1(np.append(np.full(N - 1, 0.3), 0.0)),
    "strong l1": L1(np.full(N, 5.0)),
    "box": L1(np.zeros(N), -0.05, np.linspace(0.0, 1.0, N)),
    "l1 in a box": L1(np.linspace(0.0, 1.0, N), -0.1, np.append(np.full(N - 1, 0.2), np.inf)),
}


def met(pairs: int, condition: float, seed: int) -> tuple[Model, np.ndarray, np.ndarray]:
    """A model of a quadratic function of this condition after some steps, and those with their gradients' changes."""
    rng = np.random.default_rng(seed)
    A = rng.normal(size=(N, N)) * np.geomspace(1.0, condition**-0.5, N)
    S = rng.normal(size=(pairs, N)) * np.geomspace(1.0, 1e-3, max(pairs, 1))[:pairs, None]
    Y = S @ (A.T @ A)
    return Model.of(S, Y, 3.0), S, Y


@pytest.mark.parametrize("name", PENALTIES)
@pytest.mark.parametrize("condition", [1e1, 1e4, 1e8])
@pytest.mark.parametrize("pairs", [0, 1, 10])
def test_the_minimizer_of_the_model_is_optimal(name: str, condition: float, pairs: int) -> None:
    """Its residual is as small as rounding leaves it; the slow way, where it comes to an end, leads to the same."""
    l1, rng = PENALTIES[name], np.random.default_rng(1)
    for seed in range(5):
        model, _, _ = met(pairs, condition, seed)
        theta, g = l1.clip(rng.normal(size=N) * (rng.random(N) < 0.5)), rng.normal(size=N)
        v = model.minimize(theta, g, l1)
        gradient = g + model.times(v - theta)
        largest = model.sigma + np.linalg.eigvalsh(model.core).max(initial=0.0)
        assert np.linalg.norm(l1.residual(v, gradient)) <= 1e-9 * largest * np.linalg.norm(v - theta)
        if condition == 1e1:
            np.testing.assert_allclose(model._descend(theta, g, l1, theta), v, atol=1e-7 * np.linalg.norm(v - theta))


@pytest.mark.parametrize("pairs", [0, 1, 10])
def test_without_a_penalty_it_is_the_two_loop_recursion(pairs: int) -> None:
    model, S, Y = met(pairs, 1e2, 0)
    g = np.random.default_rng(2).normal(size=N)
    found = model.minimize(np.zeros(N), g, PENALTIES["none"])
    np.testing.assert_allclose(found, -inverse_times(S, Y, g, 1.0 / 3.0), rtol=1e-6)


@pytest.mark.parametrize("condition", [1e0, 1e2, 1e3, 1e5, 1e8, 1e15, np.inf])
def test_rows_as_good_as_dependent_get_an_orthonormal_basis_too(condition: float) -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(size=(6, 200)) * np.geomspace(1.0, 1e-20, 6)[:, None]
    rows[5] = rows[0] + rows[5] / (np.linalg.norm(rows[5]) * condition)
    basis, triangle = orthonormal(rows)
    Q = np.array([basis.combined(unit) for unit in np.eye(6)])
    np.testing.assert_allclose(Q @ Q.T, np.eye(6), atol=1e-11)
    np.testing.assert_allclose(Q.T @ triangle, rows.T, atol=1e-13 * np.linalg.norm(rows, axis=1).max())
    np.testing.assert_allclose(basis.along(rows[0]), Q @ rows[0], atol=1e-11 * np.linalg.norm(rows[0]))
    for share in (0.0, 0.3, 0.7, 1.0):
        chosen = rng.random(200) < share
        np.testing.assert_allclose(basis.gram(chosen), (Q * chosen) @ Q.T, atol=1e-11)
