"""What every loss must be: smooth as it says, defined where it says, solved by its link."""

import numpy as np
import pytest
from problems import ALL_LOSSES, GLM_LOSSES, OF_THE_MEAN
from scipy import stats
from scipy.optimize import minimize as scipy_minimize

from sparkdml.optim.losses import LOSSES, GeneralizedLinear, Huber, Loss, Quantile, Softmax

CANDIDATES = np.array([-1e3, -2.5, -1.0, -0.5, 0.0, 0.25, 0.5, 1.0, 2.0, 7.0, 1e3])
STEP = 1e-3
STENCIL = [(-2, 1.0), (-1, -8.0), (1, 8.0), (2, -1.0)]  # 4th order, over 12 h


def labels(loss: Loss) -> np.ndarray:
    """Labels of the domain, of moderate size."""
    small = CANDIDATES[np.abs(CANDIDATES) < 10]
    return small[loss.domain(small)]


def indicators(loss: Loss, y: np.ndarray) -> np.ndarray:
    """What the mean of a label is the mean of: itself, or of a class (n, C) zeros and a one."""
    return np.eye(loss.classes)[y.astype(int)] if isinstance(loss, Softmax) else y


def margins(loss: Loss, n: int, *shape: int, seed: int = 0) -> np.ndarray:
    """Margins of moderate size at which the loss is finite, and somewhat around them, (n, ..., C)."""
    z = np.random.default_rng(seed).normal(0.0, 2.0, (n, *shape, loss.margins))
    return z if np.all(loss.valid(np.zeros_like(z))) else np.abs(z) + 0.5


EVERY_LOSS = ALL_LOSSES | GLM_LOSSES


@pytest.fixture(params=sorted(EVERY_LOSS))
def loss(request: pytest.FixtureRequest) -> Loss:
    """Those with a kink are smooth above it."""
    return EVERY_LOSS[request.param].smoothed(0.5)


@pytest.fixture
def pairs(loss: Loss) -> tuple[np.ndarray, np.ndarray]:
    """Labels (n,) and margins (n, C)."""
    y = np.repeat(labels(loss), 5)
    return y, margins(loss, len(y))


def test_names_are_the_keys_of_the_table() -> None:
    assert all(loss.name == name for name, loss in LOSSES.items())
    assert len(LOSSES) > 0


def test_the_gradient_is_the_derivative_of_the_value(loss: Loss, pairs: tuple[np.ndarray, np.ndarray]) -> None:
    y, z = pairs
    for c, unit in enumerate(np.eye(loss.margins)):
        slope = sum(k * loss.value(y, z + i * STEP * unit) for i, k in STENCIL) / (12 * STEP)
        np.testing.assert_allclose(loss.gradient(y, z)[:, c], slope, rtol=1e-8, atol=1e-8)


def test_the_hessian_is_the_derivative_of_the_gradient(loss: Loss, pairs: tuple[np.ndarray, np.ndarray]) -> None:
    y, z = pairs
    for c, unit in enumerate(np.eye(loss.margins)):
        slope = sum(k * loss.gradient(y, z + i * STEP * unit) for i, k in STENCIL) / (12 * STEP)
        np.testing.assert_allclose(loss.hessian(y, z)[:, c], slope, rtol=1e-8, atol=1e-8)


def test_the_curvature_is_bounded_as_it_says(loss: Loss, pairs: tuple[np.ndarray, np.ndarray]) -> None:
    eigenvalues = np.linalg.eigvalsh(loss.hessian(*pairs))
    assert eigenvalues.min() >= -1e-12 or not np.isfinite(loss.curvature)
    assert eigenvalues.max() <= loss.curvature * (1 + 1e-12)
    if loss.quadratic:
        assert np.ptp(loss.hessian(*pairs), axis=0).max() == 0.0


def test_the_domain_refuses_what_is_not_finite_and_gives_finite_values(loss: Loss) -> None:
    assert not np.any(loss.domain(np.array([np.nan, np.inf, -np.inf])))
    y = CANDIDATES[loss.domain(CANDIDATES)]
    assert len(y) > 1
    assert np.all(np.isfinite(loss.value(y, margins(loss, len(y)))))


def test_the_inverse_link_inverts_the_link(loss: Loss) -> None:
    means = np.array([0.1, 0.3, 0.5, 0.9])
    if isinstance(loss, Softmax):
        means = np.random.default_rng(3).dirichlet(np.ones(loss.classes), 4)
    np.testing.assert_allclose(loss.inverse_link(loss.link(means)), means, rtol=1e-14)


@pytest.mark.parametrize("loss", (OF_THE_MEAN | GLM_LOSSES).values(), ids=OF_THE_MEAN | GLM_LOSSES)
def test_the_link_of_the_mean_is_the_best_constant_prediction(loss: Loss) -> None:
    y = labels(loss)
    if isinstance(loss, GeneralizedLinear):
        y = y[np.isclose(loss.inverse_link(loss.link(y)), y)]  # those that are means too
    s = np.random.default_rng(1).exponential(size=len(y))
    best = loss.link(np.average(indicators(loss, y), axis=0, weights=s))

    def mean_loss(z: np.ndarray) -> float:
        return float(np.average(loss.value(y, np.broadcast_to(z, (len(y), loss.margins))), weights=s))

    found = scipy_minimize(
        mean_loss, best + 0.1 * np.abs(best) + 0.01, method="Nelder-Mead", options={"xatol": 1e-10, "fatol": 1e-14}
    )
    constant = np.mean(found.x - best) if isinstance(loss, Softmax) else 0.0  # which says nothing of the classes
    np.testing.assert_allclose(best, found.x - constant, atol=1e-5)
    gradient = np.average(loss.gradient(y, np.broadcast_to(best, (len(y), loss.margins))), axis=0, weights=s)
    np.testing.assert_allclose(gradient, 0.0, atol=1e-12)


def test_shapes_broadcast_over_models(loss: Loss) -> None:
    y, K, C = labels(loss), 3, loss.margins
    n = len(y)
    z = margins(loss, n, K, seed=2)
    assert loss.value(y[:, None], z).shape == (n, K)
    assert loss.gradient(y[:, None], z).shape == (n, K, C)
    assert loss.hessian(y[:, None], z).shape == (n, K, C, C)
    means = indicators(loss, y)
    assert loss.link(means).shape == (n, C)
    assert loss.inverse_link(z).shape == (n, K, *means.shape[1:])
    for k in range(K):
        np.testing.assert_array_equal(loss.value(y[:, None], z)[:, k], loss.value(y, z[:, k]))
        np.testing.assert_array_equal(loss.gradient(y[:, None], z)[:, k], loss.gradient(y, z[:, k]))


@pytest.mark.parametrize("size", [40.0, 1e4, 1e300])
def test_no_margin_is_too_large_for_log_loss(size: float) -> None:
    """Warnings are errors here, those of an overflow too."""
    loss, y, z = LOSSES["logistic"], np.array([0.0, 1.0, 0.0, 1.0]), np.array([[1.0], [-1.0], [-1.0], [1.0]]) * size
    np.testing.assert_allclose(loss.value(y, z), [size, size, np.exp(-size), np.exp(-size)], rtol=1e-15)
    np.testing.assert_allclose(loss.gradient(y, z)[:, 0], [1.0, -1.0, 0.0, 0.0], atol=1e-15)
    assert np.all((loss.hessian(y, z) >= 0.0) & (loss.hessian(y, z) <= loss.curvature))
    np.testing.assert_allclose(loss.inverse_link(z), [1.0, 0.0, 0.0, 1.0], atol=1e-15)


@pytest.mark.parametrize("size", [40.0, 1e4, 1e300])
def test_no_margin_is_too_large_for_cross_entropy(size: float) -> None:
    loss, y, z = Softmax(3), np.array([0.0, 2.0]), np.array([[1.0, 0.0, -1.0]] * 2) * size
    np.testing.assert_allclose(loss.value(y, z), [np.exp(-size), 2.0 * size], rtol=1e-15)
    np.testing.assert_allclose(loss.gradient(y, z), [[0.0, 0.0, 0.0], [1.0, 0.0, -1.0]], atol=1e-15)
    assert np.all(np.linalg.eigvalsh(loss.hessian(y, z)) <= loss.curvature)
    np.testing.assert_allclose(loss.inverse_link(z), [[1.0, 0.0, 0.0]] * 2, atol=1e-15)


def test_two_classes_are_a_log_loss_of_the_difference_of_their_margins() -> None:
    y, z = np.array([0.0, 1.0] * 10), np.random.default_rng(4).normal(0.0, 3.0, (20, 2))
    difference = z[:, 1:] - z[:, :1]
    np.testing.assert_allclose(Softmax(2).value(y, z), LOSSES["logistic"].value(y, difference), rtol=1e-13)
    np.testing.assert_allclose(Softmax(2).gradient(y, z)[:, 1:], LOSSES["logistic"].gradient(y, difference), rtol=1e-12)


def test_a_mean_at_the_end_of_its_range_has_a_finite_margin_that_says_so() -> None:
    loss, ends = LOSSES["logistic"], np.array([0.0, 1.0])
    np.testing.assert_allclose(loss.inverse_link(loss.link(ends)), ends, atol=3e-16)
    assert np.all(loss.value(ends, loss.link(ends)) < 3e-16)


KINKED = [loss for loss in LOSSES.values() if not loss.smooth] + [Quantile(quantile=0.9)]
TWO_CLASSES = [name for name in LOSSES if not LOSSES[name].domain(np.array([0.5]))[0]]


@pytest.mark.parametrize("loss", KINKED, ids=repr)
@pytest.mark.parametrize("width", [1e-3, 0.5, 20.0])
def test_a_smooth_loss_lies_above_the_one_with_a_kink_and_grows_with_its_width(loss: Loss, width: float) -> None:
    y = np.repeat(labels(loss), 200)
    z = np.random.default_rng(3).normal(0.0, 3.0, (len(y), 1))
    exact, smooth, wider = (each.value(y, z) for each in (loss, loss.smoothed(width), loss.smoothed(1.001 * width)))
    assert loss.smoothed(0.0) == loss and loss.smoothed(width).smooth and not loss.smooth
    assert np.all((exact <= smooth) & (smooth <= exact + width * np.log(2.0) * (1.0 + 1e-12)))
    assert np.all(smooth <= wider)
    # the line through both, at the width zero, is the line of the slope of the smooth loss, or below it
    other = np.random.default_rng(4).normal(0.0, 3.0, (len(y), 1))
    tangent = smooth - 1e3 * (wider - smooth) + (loss.smoothed(width).gradient(y, z) * (other - z))[:, 0]
    assert np.all(tangent <= loss.value(y, other) + 1e-10)


@pytest.mark.parametrize("q", [0.1, 0.5, 0.75])
def test_the_best_constant_of_the_quantile_loss_is_the_quantile(q: float) -> None:
    y = np.random.default_rng(0).exponential(size=101)
    mean_loss = [float(np.mean(Quantile(quantile=q).value(y, np.full((101, 1), each)))) for each in y]
    assert y[np.argmin(mean_loss)] == pytest.approx(np.quantile(y, q, method="inverted_cdf"))


@pytest.mark.parametrize("name", TWO_CLASSES)
def test_exchanging_the_two_classes_is_exchanging_the_sign_of_the_margin(name: str) -> None:
    y, z = np.repeat([0.0, 1.0], 20), np.random.default_rng(5).normal(0.0, 3.0, (40, 1))
    loss = LOSSES[name].smoothed(0.1)
    np.testing.assert_allclose(loss.value(y, z), loss.value(1.0 - y, -z), atol=1e-14)


def test_hubers_scale_is_that_of_squares_within_epsilon_and_must_be_positive() -> None:
    loss, y = Huber(epsilon=2.0), np.array([0.0, 1.0])
    with_scale = np.array([[0.5, 0.5], [-0.2, 3.0]])
    r, sigma = y - with_scale[:, 0], with_scale[:, 1]
    np.testing.assert_allclose(loss.value(y, with_scale), (sigma + r**2 / sigma) / 2.0)
    assert np.all(np.isinf(loss.value(y, np.array([[0.5, 0.0], [0.5, -1.0]]))))
    np.testing.assert_allclose(loss.value(2.0 * y, 2.0 * with_scale), 2.0 * loss.value(y, with_scale))


# Generalized linear models.


@pytest.fixture(params=sorted(GLM_LOSSES))
def glm(request: pytest.FixtureRequest) -> GeneralizedLinear:
    return GLM_LOSSES[request.param]


def test_the_fisher_information_is_the_hessian_of_the_expected_label(glm: GeneralizedLinear) -> None:
    """The Hessian is linear in the label."""
    z = margins(glm, 50)
    np.testing.assert_allclose(glm.fisher(np.zeros(50), z), glm.hessian(glm.inverse_link(z), z), rtol=1e-9, atol=1e-12)
    assert np.all(glm.fisher(np.zeros(50), z) >= 0.0)
    same = np.allclose(glm.hessian(np.full(50, 0.9), z), glm.fisher(np.zeros(50), z), rtol=1e-9, atol=1e-12)
    assert same == glm.canonical


def test_a_label_that_is_its_mean_costs_nothing_and_every_other_something(glm: GeneralizedLinear) -> None:
    y, z = labels(glm), margins(glm, 30)
    mean = glm.inverse_link(z)
    inside = glm.domain(mean)
    np.testing.assert_allclose(glm.value(mean[inside], z[inside]), 0.0, atol=1e-9)
    assert np.all(glm.value(y[:, None], z[None]) >= -1e-12)


@pytest.mark.parametrize("size", [40.0, 1e4, 1e100])
def test_no_margin_makes_a_nan_or_a_warning(glm: GeneralizedLinear, size: float) -> None:
    """Warnings are errors here. Where the loss is infinite, its derivatives are zero."""
    y = labels(glm)[:, None]
    z = np.broadcast_to(np.array([size, -size, 0.0, 1.0 / size])[:, None], (len(y), 4, 1))
    value = glm.value(y, z)
    assert not np.any(np.isnan(value))
    np.testing.assert_array_equal(np.isinf(value), np.broadcast_to(~glm.valid(z), value.shape))
    for derivative in (glm.gradient(y, z)[..., 0], glm.hessian(y, z)[..., 0, 0], glm.fisher(y, z)[..., 0, 0]):
        assert np.all(np.isfinite(derivative))
        assert not np.any(derivative[~glm.valid(z)])


# log p(y) of a label with the mean 0.7, of unit dispersion where it is not estimated
DENSITIES = {
    "binomial": lambda y, s: stats.binom.logpmf(np.rint(s * y), s, 0.7),
    "poisson": lambda y, s: s * stats.poisson.logpmf(y, 0.7),
    "negativeBinomial": lambda y, s: s * stats.nbinom.logpmf(y, 1.0 / 0.3, 1.0 / (1.0 + 0.3 * 0.7)),
}


@pytest.mark.parametrize("family", DENSITIES)
def test_the_log_likelihood_is_that_of_scipy(family: str) -> None:
    """Where the dispersion is estimated, see the tests of the summary."""
    loss = next(loss for loss in reversed(GLM_LOSSES.values()) if loss.family.name == family)
    y = np.array([0.0, 1.0, 0.5]) if family == "binomial" else np.array([0.0, 1.0, 4.0])
    s, z = np.array([2.0, 1.0, 4.0]), np.broadcast_to(loss.link(np.array(0.7)), (3, 1))
    deviance, saturated = 2.0 * s @ loss.value(y, z), loss.family.saturated(y, s).sum()
    found = loss.family.log_likelihood(deviance, saturated, len(y), s.sum())
    assert found == pytest.approx(DENSITIES[family](y, s).sum(), rel=1e-12)
