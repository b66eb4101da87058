"""What every update rule must do: its textbook's recursion, column by column, to the same bits after a pause."""

import math
import pickle
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from sparkdml import arrays
from sparkdml.errors import FormatError, ParamError
from sparkdml.optim.adaptive import ADAPTIVE
from sparkdml.optim.penalties import L1
from sparkdml.optim.schedules import Constant, Exponential, InverseScaling, InverseTime, Schedule
from sparkdml.optim.updates import (
    RULES,
    AdaGrad,
    Adam,
    Averaged,
    Chain,
    ClipByNorm,
    ClipByValue,
    Descend,
    Momentum,
    Nesterov,
    RmsProp,
    Rule,
    WeightDecay,
    chain,
    column_norms,
    named_rule,
    state_arrays,
    state_from_arrays,
)

N, K, T = 37, 5, 12
MASK = np.append(np.ones(N - 1), 0.0)
SCHEDULE = InverseTime(0.3, 0.1)
SIZES = np.array([0.3, 0.1, 0.02, 1.0, 0.5])


def settings(name: str) -> dict[str, Any]:
    return {"weight_decay": 0.1, "mask": MASK} if name == "adamw" else {}


def case(name: str, schedule: Any) -> Rule:
    """A rule by the name of the table, or one of the compositions."""
    if name in RULES:
        return named_rule(name, schedule, **settings(name))
    return {
        "clip by norm": lambda: chain(ClipByNorm(4.0), named_rule("momentum", schedule)),
        "clip by value": lambda: chain(ClipByValue(0.8), named_rule("nesterov", schedule)),
        "averaged": lambda: Averaged(named_rule("adam", schedule), start=3),
    }[name]()


CASES = [*RULES, "clip by norm", "clip by value", "averaged"]
every_case = pytest.mark.parametrize("name", CASES)
every_rule = pytest.mark.parametrize("name", RULES)


def gradients(count: int = T, seed: int = 0) -> np.ndarray:
    """Gradients of different sizes; the first coordinates stay zero at first, as with a rare feature."""
    rng = np.random.default_rng(seed)
    found = rng.normal(size=(count, N, K)) * np.exp(rng.normal(size=(count, 1, K)))
    found[: count // 2, :3] = 0.0
    return found


def start() -> np.ndarray:
    return np.random.default_rng(1).normal(size=(N, K))


def walk(rule: Rule, gradients: np.ndarray, w: np.ndarray, state: Any = None) -> Iterator[tuple[np.ndarray, Any]]:
    """The weights and the state after each update; what the rule is given cannot be written to."""
    state = rule.init(w) if state is None else state
    for gradient in gradients:
        gradient, w = gradient.copy(), w.copy()
        gradient.flags.writeable = w.flags.writeable = False
        step, state = rule.update(gradient, state, w)
        w = w + step
        yield w, state


def path(rule: Rule, gradients: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.array([w for w, _ in walk(rule, gradients, w)])


def bits(state: Any) -> dict[str, tuple[str, tuple[int, ...], bytes]]:
    return {name: (str(array.dtype), array.shape, array.tobytes()) for name, array in state_arrays(state).items()}


def classes(of: type) -> set[type]:
    return {of, *(found for each in of.__subclasses__() for found in classes(each))}


def links(rule: Rule) -> list[Rule]:
    parts = rule.rules if isinstance(rule, Chain) else [rule.rule] if isinstance(rule, Averaged) else []
    return [rule, *(link for part in parts for link in links(part))]


def test_every_rule_is_in_the_tables() -> None:
    assert {type(link) for name in CASES for link in links(case(name, SCHEDULE))} == classes(Rule) - {Rule}


# The textbooks' recursions, for one sequence of gradients g and step sizes eta.


def plain(g: np.ndarray, eta: list[float], w: np.ndarray) -> Iterator[np.ndarray]:
    for t in range(len(g)):
        yield (w := w - eta[t] * g[t])


def momentum(g: np.ndarray, eta: list[float], w: np.ndarray) -> Iterator[np.ndarray]:
    for t in range(len(g)):
        yield (w := w - eta[t] * sum(0.9 ** (t - i) * g[i] for i in range(t + 1)))


def nesterov(g: np.ndarray, eta: list[float], w: np.ndarray) -> Iterator[np.ndarray]:
    for t in range(len(g)):
        yield (w := w - eta[t] * (g[t] + sum(0.9 ** (t + 1 - i) * g[i] for i in range(t + 1))))


def adagrad(g: np.ndarray, eta: list[float], w: np.ndarray) -> Iterator[np.ndarray]:
    for t in range(len(g)):
        yield (w := w - eta[t] * g[t] / (np.sqrt(np.sum(g[: t + 1] ** 2, axis=0)) + 1e-8))


def rmsprop(g: np.ndarray, eta: list[float], w: np.ndarray) -> Iterator[np.ndarray]:
    for t in range(len(g)):
        q = sum(0.1 * 0.9 ** (t - i) * g[i] ** 2 for i in range(t + 1))
        yield (w := w - eta[t] * g[t] / (np.sqrt(q) + 1e-8))


def adam(g: np.ndarray, eta: list[float], w: np.ndarray, decay: Any = 0.0) -> Iterator[np.ndarray]:
    for t in range(len(g)):
        a, b = ([beta ** (t - i) for i in range(t + 1)] for beta in (0.9, 0.999))
        m, q = np.tensordot(a, g[: t + 1], 1) / sum(a), np.tensordot(b, g[: t + 1] ** 2, 1) / sum(b)
        yield (w := w - eta[t] * (m / (np.sqrt(q) + 1e-8) + decay * w))


def adamw(g: np.ndarray, eta: list[float], w: np.ndarray) -> Iterator[np.ndarray]:
    return adam(g, eta, w, 0.1 * MASK[:, None])


TEXTBOOK: dict[str, Callable[..., Iterator[np.ndarray]]] = {
    "plain": plain,
    "momentum": momentum,
    "nesterov": nesterov,
    "adagrad": adagrad,
    "rmsprop": rmsprop,
    "adam": adam,
    "adamw": adamw,
}


@every_rule
def test_a_rule_is_its_textbooks_recursion(name: str) -> None:
    expected = list(TEXTBOOK[name](gradients(), [SCHEDULE(t) for t in range(T)], start()))
    np.testing.assert_allclose(path(case(name, SCHEDULE), gradients(), start()), expected, rtol=1e-11, atol=1e-13)


@every_case
def test_columns_together_are_columns_alone_to_the_bit(name: str) -> None:
    together = list(walk(case(name, SIZES), gradients(), start()))
    for k in range(K):
        alone = walk(case(name, SIZES[k]), gradients()[:, :, [k]], start()[:, [k]])
        for (ours, state), (theirs, other) in zip(together, alone, strict=True):
            assert ours[:, [k]].tobytes() == theirs.tobytes()
            scales = np.broadcast_to(case(name, SIZES).scales(state), (N, K))
            assert scales[:, k].tolist() == np.broadcast_to(case(name, SIZES[k]).scales(other), (N, 1))[:, 0].tolist()


@every_case
def test_weights_of_one_dimension_are_one_column(name: str) -> None:
    flat = path(case(name, SCHEDULE), gradients()[:, :, 0], start()[:, 0])
    assert flat.tobytes() == path(case(name, SCHEDULE), gradients()[:, :, [0]], start()[:, [0]]).tobytes()


@every_case
def test_a_state_written_and_read_in_the_middle_goes_on_with_the_same_bits(name: str) -> None:
    rule = case(name, SIZES)
    uninterrupted = list(walk(rule, gradients(), start()))
    for pause in range(T - 1):
        w, state = uninterrupted[pause]
        read = state_from_arrays(rule, arrays.load(*arrays.dump(state_arrays(state))))
        assert bits(read) == bits(state)
        *_, (last, end) = walk(rule, gradients()[pause + 1 :], w, read)
        assert last.tobytes() == uninterrupted[-1][0].tobytes()
        assert bits(end) == bits(uninterrupted[-1][1])


@every_case
def test_a_state_before_the_first_update_can_be_written_too(name: str) -> None:
    rule = case(name, SIZES)
    read = state_from_arrays(rule, arrays.load(*arrays.dump(state_arrays(rule.init(start())))))
    assert [w.tobytes() for w, _ in walk(rule, gradients(), start(), read)] == [
        w.tobytes() for w, _ in walk(rule, gradients(), start())
    ]


@pytest.mark.parametrize("name", ADAPTIVE)
def test_an_adaptive_step_size_is_written_and_read_too(name: str) -> None:
    rule: Any = ADAPTIVE[name]()
    rng = np.random.default_rng(0)
    state = other = rule.init(0.1)
    for value in rng.normal(size=30):
        w, gradient = rng.normal(size=(2, 4))
        other = state_from_arrays(rule, arrays.load(*arrays.dump(state_arrays(other))))
        state, other = rule.observe(state, value, w, gradient), rule.observe(other, value, w, gradient)
        assert bits(state) == bits(other)
        assert type(other.undo) is bool and type(other.step) is float
    assert state.step != 0.1


@every_case
def test_a_foreign_or_damaged_state_is_refused(name: str) -> None:
    rule = case(name, SCHEDULE)
    *_, (_, state) = walk(rule, gradients(), start())
    good = state_arrays(state)
    counter = next(key for key in good if key.endswith("t"))
    floats = next(key for key in good if key.endswith("scale"))
    for bad in (
        {},
        {**good, "more": np.zeros(1)},
        {key: value for key, value in good.items() if key != floats},
        {**good, counter: np.array(1.5)},
        {**good, counter: np.array([1])},
        {**good, floats: np.array(1)},
    ):
        with pytest.raises(FormatError):
            state_from_arrays(rule, bad)


@every_case
def test_a_rule_is_pure_and_survives_pickling(name: str) -> None:
    rule = case(name, SCHEDULE)
    before = [(w, state, bits(state)) for w, state in walk(rule, gradients(), start())]
    again = path(pickle.loads(pickle.dumps(rule)), gradients(), start())
    assert again.tobytes() == np.array([w for w, _, _ in before]).tobytes()
    assert all(bits(state) == then for _, state, then in before)


@every_case
def test_scales_are_what_a_constant_gradient_is_multiplied_by(name: str) -> None:
    rule, gradient = case(name, SCHEDULE), gradients()[-1]
    gradient[5] = 0.0
    state, w = rule.init(gradient), np.zeros((N, K))
    for t in range(T):
        step, state = rule.update(gradient, state, w)
        np.testing.assert_allclose(step, -SCHEDULE(t) * rule.scales(state) * gradient, rtol=1e-12)


# A strictly convex quadratic of condition number 100, and step sizes that suit each rule.
EIGENVALUES = np.geomspace(0.01, 1.0, 5)
ROTATION = np.linalg.qr(np.random.default_rng(2).normal(size=(5, 5)))[0]
HESSIAN = ROTATION * EIGENVALUES @ ROTATION.T
MINIMUM = np.random.default_rng(3).normal(size=(5, 1))
SUITABLE: dict[str, tuple[Schedule, int]] = {
    "plain": (Constant(1.5), 2500),
    "momentum": (Constant(0.3), 600),
    "nesterov": (Constant(0.3), 600),
    "adagrad": (Constant(1.0), 1500),
    "rmsprop": (Exponential(0.1, 0.5, 100), 2500),
    "adam": (Constant(0.2), 2000),
    "adamw": (Constant(0.2), 2000),
}


def decaying_nothing(name: str) -> dict[str, Any]:
    return {"weight_decay": 0.0} if name == "adamw" else {}  # else its rest is not the minimum


@every_rule
def test_every_rule_finds_the_minimum_of_a_quadratic(name: str) -> None:
    schedule, steps = SUITABLE[name]
    rule, w = named_rule(name, schedule, **decaying_nothing(name)), np.zeros((5, 1))
    state = rule.init(w)
    for _ in range(steps):
        step, state = rule.update(HESSIAN @ (w - MINIMUM), state, w)
        w = w + step
    np.testing.assert_allclose(w, MINIMUM, atol=1e-9)


@every_rule
@pytest.mark.parametrize("bound", [None, 0.02], ids=["free", "clipped"])
def test_a_prox_with_the_scaled_step_finds_the_minimum_with_l1(name: str, bound: float | None) -> None:
    schedule, steps = SUITABLE[name]
    rule, w = named_rule(name, schedule, **decaying_nothing(name)), np.zeros((5, 1))
    rule = chain(ClipByNorm(bound), rule) if bound else rule
    penalty = L1(np.full((5, 1), 0.05))  # more than the bound: the clipped gradient alone could not balance it
    state = rule.init(w)
    for t in range(steps):
        step, state = rule.update(HESSIAN @ (w - MINIMUM), state, w)
        w = penalty.prox(w + step, schedule(t) * rule.scales(state))
    slope = HESSIAN @ (w - MINIMUM)
    assert 0 < np.count_nonzero(w) < 5
    assert np.all(np.abs(slope[w == 0.0]) < 0.05)
    np.testing.assert_allclose(slope[w != 0.0], -0.05 * np.sign(w[w != 0.0]), atol=1e-6)


@every_rule
def test_with_noise_the_distance_is_what_the_noise_makes_it(name: str) -> None:
    """Near the minimum each coordinate varies by eta scale sigma^2 / (2 curvature), if the step decays slowly enough.

    Source: S. Mandt, M. Hoffman, D. Blei, Stochastic Gradient Descent as Approximate Bayesian Inference (2017).
    """
    sigma, fits, steps, rng = 0.7, 200, 2500, np.random.default_rng(4)
    curvature = np.geomspace(0.1, 1.0, 5)[:, None]
    schedule = InverseScaling(2.0, 0.1) if name == "adagrad" else InverseScaling(0.6, 0.5)  # AdaGrad decays by itself
    rule, w = named_rule(name, schedule, **decaying_nothing(name)), np.zeros((5, fits))
    state = rule.init(w)
    for _ in range(steps):
        step, state = rule.update(curvature * (w - MINIMUM) + sigma * rng.normal(size=w.shape), state, w)
        w = w + step
    scale = np.broadcast_to(rule.scales(state), w.shape).mean(axis=1)
    expected = np.sqrt(schedule(steps - 1) * scale * sigma**2 / (2 * curvature[:, 0]))
    deviation = np.sqrt(np.mean(np.square(w - MINIMUM), axis=1))
    np.testing.assert_allclose(deviation / expected, 1.0, atol=0.25)  # 5 standard errors: 5 / sqrt(2 * 200)


def test_averaging_beats_the_last_weights_under_noise() -> None:
    """The mean of T weights at a constant step varies by sigma^2 / (curvature^2 T), whatever the step.

    Source: B. Polyak and A. Juditsky, Acceleration of Stochastic Approximation by Averaging (1992).
    """
    sigma, curvature, rng = 0.7, np.array([[0.5], [1.0]]), np.random.default_rng(5)
    rule, w = Averaged(Descend(0.2), start=200), np.zeros((2, 400))
    state = rule.init(w)
    for _ in range(2200):
        step, state = rule.update(curvature * (w - 1.0) + sigma * rng.normal(size=w.shape), state, w)
        w = w + step
    deviation = np.sqrt(np.mean(np.square(state.average - 1.0), axis=1))
    np.testing.assert_allclose(deviation / (sigma / (curvature[:, 0] * math.sqrt(2000))), 1.0, atol=0.2)
    assert np.all(5 * deviation < np.sqrt(np.mean(np.square(w - 1.0), axis=1)))


@pytest.mark.parametrize("first", [1, 4])
def test_the_average_is_the_mean_of_the_weights_that_were_updated(first: int) -> None:
    rule = Averaged(Descend(SCHEDULE), start=first)
    seen = [start(), *path(rule, gradients(), start())]
    for t, (_, state) in enumerate(walk(rule, gradients(), start())):
        expected = np.mean(seen[first : t + 1], axis=0) if t >= first else seen[t]
        np.testing.assert_allclose(state.average, expected, rtol=1e-12, atol=1e-14)


def test_a_chain_is_its_rules_by_hand() -> None:
    rules = [ClipByValue(1.0), AdaGrad(), WeightDecay(0.2, MASK), Momentum(0.7), Descend(SCHEDULE), ClipByNorm(0.5)]
    together, w = path(chain(*rules), gradients(), start()), start()
    states = [rule.init(w) for rule in rules]
    for t, gradient in enumerate(gradients()):
        step = gradient
        for i, rule in enumerate(rules):
            step, states[i] = rule.update(step, states[i], w)
        w = w + step
        assert w.tobytes() == together[t].tobytes()


def test_chains_in_a_chain_are_taken_apart() -> None:
    a, b, c = ClipByNorm(1.0), Momentum(0.5), Descend(0.1)
    assert chain(a, chain(b, chain(c))) == chain(chain(a, b), c) == Chain((a, b, c))


def test_the_place_of_the_schedule_decides_which_momentum_it_is() -> None:
    inside, velocity, w = path(chain(Descend(SCHEDULE), Momentum(0.9)), gradients(), start()), 0.0, start()
    for t, gradient in enumerate(gradients()):
        velocity = 0.9 * velocity - SCHEDULE(t) * gradient
        w = w + velocity
        np.testing.assert_allclose(inside[t], w, rtol=1e-12, atol=1e-14)


def test_clipping_by_norm_shortens_long_columns_only() -> None:
    rule, gradient = ClipByNorm(6.0), gradients()[-1]
    norms = np.linalg.norm(gradient, axis=0)
    assert 0 < np.sum(norms > 6.0) < K
    clipped, _ = rule.update(gradient, rule.init(gradient), gradient)
    np.testing.assert_allclose(clipped, gradient * np.minimum(1.0, 6.0 / norms), rtol=1e-14)
    assert clipped[:, norms <= 6.0].tobytes() == gradient[:, norms <= 6.0].tobytes()


def test_clipping_by_value_is_numpys() -> None:
    rule, gradient = ClipByValue(0.5), gradients()[-1]
    clipped, _ = rule.update(gradient, rule.init(gradient), gradient)
    np.testing.assert_allclose(clipped, np.clip(gradient, -0.5, 0.5), rtol=1e-15)


@pytest.mark.parametrize("size", [1e-200, 1e-3, 1e200])
def test_norms_neither_overflow_nor_vanish(size: float) -> None:
    x = gradients()[-1]
    np.testing.assert_allclose(column_norms(size * x) / size, np.linalg.norm(x, axis=0), rtol=1e-14)
    assert column_norms(np.zeros((3, 2))).tolist() == [0.0, 0.0]


def test_weight_decay_spares_what_the_mask_spares() -> None:
    w, zero = start(), np.zeros((T, N, K))
    end = path(named_rule("adamw", 0.5, weight_decay=0.1, mask=MASK), zero, w)[-1]
    assert end[-1].tobytes() == w[-1].tobytes()
    np.testing.assert_allclose(end[:-1], w[:-1] * 0.95**T, rtol=1e-14)
    everywhere = path(named_rule("adamw", 0.5, weight_decay=0.1), zero, w)[-1]
    np.testing.assert_allclose(everywhere, w * 0.95**T, rtol=1e-14)


@pytest.mark.parametrize("name", ["adagrad", "rmsprop", "adam"])
def test_a_coordinate_that_never_had_a_gradient_stays_where_it_is(name: str) -> None:
    rule, w = named_rule(name, SCHEDULE), np.ones((2, 1))
    step, state = rule.update(np.array([[0.0], [1.0]]), rule.init(w), w)
    assert step[0, 0] == 0.0 and rule.scales(state)[0, 0] == 0.0
    assert step[1, 0] < 0.0 < rule.scales(state)[1, 0]


BAD: list[tuple[str, Callable[[], Any]]] = [
    *[
        ("momentum", lambda kind=kind, v=v: kind(v))
        for kind in (Momentum, Nesterov)
        for v in (-0.1, 1.0, math.nan, "0.9")
    ],
    *[
        ("epsilon", lambda kind=kind, v=v: kind(epsilon=v))
        for kind in (AdaGrad, RmsProp, Adam)
        for v in (0.0, math.inf)
    ],
    *[("bound", lambda kind=kind, v=v: kind(v)) for kind in (ClipByNorm, ClipByValue) for v in (0.0, -1.0, math.nan)],
    *[("schedule", lambda name=name, v=v: named_rule(name, v)) for name in RULES for v in (0.0, -0.1, "fast")],
    *[("decay", lambda v=v: RmsProp(decay=v)) for v in (-0.1, 1.0)],
    *[("beta1", lambda v=v: Adam(beta1=v)) for v in (-0.1, 1.0)],
    *[("beta2", lambda v=v: Adam(beta2=v)) for v in (-0.1, 1.0)],
    *[("mask", lambda v=v: WeightDecay(0.1, np.array(v))) for v in (0.5, [0.5], [[1.0]], [np.nan])],
    ("weight_decay", lambda: WeightDecay(-0.1)),
    ("mask has 2 entries for 3", lambda: WeightDecay(0.1, np.ones(2)).update(np.ones((3, 1)), None, np.ones((3, 1)))),
    ("start", lambda: Averaged(Descend(0.1), start=0)),
    ("rule='adamax'.*'adamw'", lambda: named_rule("adamax", 0.1)),
    ("'plain' has no.*'momentum'.*none", lambda: named_rule("plain", 0.1, momentum=0.9)),
    ("'adamw' has no.*'decay'.*'weight_decay'", lambda: named_rule("adamw", 0.1, decay=0.9)),
]


@pytest.mark.parametrize("case", range(len(BAD)), ids=[f"{i}-{name}" for i, (name, _) in enumerate(BAD)])
def test_a_bad_value_is_refused_by_name(case: int) -> None:
    name, make = BAD[case]
    with pytest.raises(ParamError, match=name):
        make()
