"""What every penalty must be: its prox minimizes, contracts, and agrees with its gradient."""

import numpy as np
import pytest

from sparkdml.optim.penalties import L1, L2, ElasticNet, Penalty, elastic_net

STRENGTH = np.array([0.0, 0.1, 1.0, 4.0, 0.7])
LOW, HIGH = np.array([-0.5, 0.0, -np.inf, 0.2, -2.0]), np.array([0.5, np.inf, 0.0, 0.4, np.inf])
PENALTIES = {
    "L1": L1(STRENGTH),
    "L2": L2(STRENGTH),
    "ElasticNet": ElasticNet(L1(STRENGTH), L2(STRENGTH[::-1].copy())),
    "L1 alone": ElasticNet(L1(STRENGTH), L2(0 * STRENGTH)),
    "L2 alone": ElasticNet(L1(0 * STRENGTH), L2(STRENGTH)),
    "L1 in a box": L1(STRENGTH, LOW, HIGH),
    "ElasticNet in a box": ElasticNet(L1(STRENGTH), L2(STRENGTH[::-1].copy())).within(LOW, HIGH),
}
STEPS = [1e-3, 0.3, 1.0, 20.0]


@pytest.fixture(params=PENALTIES)
def penalty(request: pytest.FixtureRequest) -> Penalty:
    return PENALTIES[request.param]


def inside(penalty: Penalty, w: np.ndarray) -> np.ndarray:
    """The nearest point of the penalty's box, if it has one."""
    box = penalty.l1 if isinstance(penalty, ElasticNet) else penalty
    return box.clip(w) if isinstance(box, L1) else w


def points(count: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(count, len(STRENGTH))) * np.exp(rng.normal(size=(count, 1)))


def test_every_penalty_is_in_the_table() -> None:
    assert {type(each) for each in PENALTIES.values()} == set(Penalty.__subclasses__())


def test_a_change_is_that_of_the_value(penalty: Penalty) -> None:
    for a, b in zip(points(20), points(20, seed=2), strict=True):
        assert penalty.change(a, b) == pytest.approx(penalty.value(b) - penalty.value(a), rel=1e-12, abs=1e-12)
        assert penalty.change(a, a) == 0.0


@pytest.mark.parametrize("step", STEPS)
def test_no_candidate_beats_the_prox(penalty: Penalty, step: float) -> None:
    def objective(v: np.ndarray, w: np.ndarray) -> float:
        return penalty.value(v) + float(np.sum(np.square(v - w))) / (2 * step)

    for w in points(20):
        best = penalty.prox(w, step)
        assert best.shape == w.shape
        np.testing.assert_array_equal(inside(penalty, best), best)
        value = objective(best, w)
        near = [best + scale * p for scale in (1e-6, 1e-3, 1.0) for p in points(30, seed=1)]
        axes = [best + t * unit for unit in np.eye(len(w)) for t in np.linspace(-3, 3, 61)]
        cleared = [np.where(mask, 0.0, best) for mask in ~np.eye(len(w), dtype=bool)]
        for candidate in [*near, *axes, *cleared, 0 * w, w]:
            assert value <= objective(inside(penalty, candidate), w) + 1e-12 * (1 + abs(value))


@pytest.mark.parametrize("step", STEPS)
def test_the_prox_is_firmly_nonexpansive(penalty: Penalty, step: float) -> None:
    for a, b in zip(points(50), points(50, seed=2), strict=True):
        moved = penalty.prox(a, step) - penalty.prox(b, step)
        assert moved @ moved <= moved @ (a - b) + 1e-12


@pytest.mark.parametrize("name", [name for name, each in PENALTIES.items() if isinstance(each, L1)])
def test_the_slopes_are_those_of_the_values_around(name: str) -> None:
    penalty, h = PENALTIES[name], 1e-6
    assert isinstance(penalty, L1)
    for w in [inside(penalty, w) for w in (*points(20), 0 * STRENGTH, penalty.clip(np.full(5, 9.0)))]:
        low, high = penalty.subdifferential(w)
        for j, unit in enumerate(np.eye(len(w))):
            for end, step, infinite in ((low[j], -h, -np.inf), (high[j], h, np.inf)):
                moved = w + step * unit
                outside = np.any(penalty.clip(moved) != moved)
                slope = infinite if outside else (penalty.value(moved) - penalty.value(w)) / step
                assert end == pytest.approx(slope, abs=1e-6)
        np.testing.assert_array_equal(penalty.is_smooth_at(w), low == high)


@pytest.mark.parametrize("name", [name for name, each in PENALTIES.items() if each.smooth])
def test_the_gradient_is_the_derivative_of_the_value(name: str) -> None:
    penalty, h = PENALTIES[name], 1e-3
    for w in points(10):
        for j, unit in enumerate(np.eye(len(w))):
            terms = [(-2, 1.0), (-1, -8.0), (1, 8.0), (2, -1.0)]
            slope = sum(k * penalty.value(w + i * h * unit) for i, k in terms) / (12 * h)
            assert penalty.gradient(w)[j] == pytest.approx(slope, rel=1e-8, abs=1e-8)


def test_what_has_no_gradient_says_so() -> None:
    for penalty in PENALTIES.values():
        if not penalty.smooth:
            with pytest.raises(NotImplementedError):
                penalty.gradient(STRENGTH)


def test_the_value_is_convex_and_zero_at_zero(penalty: Penalty) -> None:
    assert penalty.value(0 * STRENGTH) == 0.0
    for a, b in zip(points(20), points(20, seed=3), strict=True):
        assert penalty.value((a + b) / 2) <= (penalty.value(a) + penalty.value(b)) / 2 + 1e-12


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_elastic_net_is_pysparks_formula(share: float) -> None:
    penalty = elastic_net(0.7, share, np.ones(3), np.ones(3))
    w = np.array([1.0, -2.0, 0.5])
    expected = 0.7 * (share * np.abs(w).sum() + (1 - share) / 2 * w @ w)
    assert penalty.value(w) == pytest.approx(expected, rel=1e-15)
