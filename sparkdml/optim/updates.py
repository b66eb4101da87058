"""Update rules: from a gradient to the step that is added to the weights, with an explicit state.

A rule is a pair of pure functions, `init(w) -> state` and `update(gradient, state, w) -> (step, state)`. Most rules
only turn one direction into another; in a chain each takes what the one before it returns, and `Descend` at the end
makes the step of it. Weights have shape (n, K), one column for each of K models, and no column knows of the others:
K models together take the same steps as alone, to the bit.
"""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, is_dataclass, replace
from typing import Any, Protocol

import numpy as np

from sparkdml.arrays import require
from sparkdml.errors import ParamError
from sparkdml.optim.schedules import (
    Checked,
    Schedule,
    ScheduleLike,
    as_schedule,
    below_one,
    check_settings,
    count,
    nonnegative,
    pick,
    positive,
)


def zero() -> np.ndarray:
    """No memory yet: it takes the shape of the first gradient."""
    return np.array(0.0)


@dataclass(frozen=True, eq=False)
class RuleState:
    """What a rule remembers; `state_arrays` compares and saves it.

    Attributes
    ----------
    t : updates so far.
    scale : see `Rule.scales`; broadcasts to (n, K).
    mean, squares : the running sum or mean of the gradients and of their squares, (n, K), where the rule has one.
    """

    t: int = 0
    scale: np.ndarray = field(default_factory=lambda: np.array(1.0))
    mean: np.ndarray = field(default_factory=zero)
    squares: np.ndarray = field(default_factory=zero)


class Rule(Checked, ABC):
    """A pair of pure functions, `init` and `update`, and what the last update multiplied the gradient by."""

    def init(self, w: np.ndarray) -> Any:
        """The state before the first update of the weights w, (n, K)."""
        return RuleState()

    @abstractmethod
    def update(self, gradient: np.ndarray, state: Any, w: np.ndarray) -> tuple[np.ndarray, Any]:
        """The step to add to w, or the next direction in a chain, and the new state; all (n, K)."""

    def scales(self, state: Any) -> np.ndarray:
        """What the last update multiplied the gradient by, the step size left out; broadcasts to (n, K), or is 1.

        A penalty with a proximal operator stays outside the rule, and the rule must stretch both alike, else they
        balance where there is no minimum: w <- prox(w + step, step size * scales). For a rule with a memory it is the
        scale of a constant gradient, since that is what the gradient is where the weights come to rest.
        """
        return state.scale


@dataclass(frozen=True)
class Descend(Rule):
    """step = -schedule(t) direction: plain gradient descent alone, and the end of every chain.

    >>> rule = Descend(0.5)
    >>> rule.update(np.array([[2.0]]), rule.init(np.zeros((1, 1))), np.zeros((1, 1)))[0]
    array([[-1.]])
    """

    schedule: Schedule = field(metadata={"check": as_schedule})

    def update(self, gradient: np.ndarray, state: RuleState, w: np.ndarray) -> tuple[np.ndarray, RuleState]:
        return -self.schedule(state.t) * gradient, RuleState(state.t + 1)


@dataclass(frozen=True)
class Momentum(Rule):
    """v <- momentum v + gradient; the direction is v, in the long run 1 / (1 - momentum) times a constant gradient.

    Source: B. Polyak, Some Methods of Speeding up the Convergence of Iteration Methods (1964).

    >>> rule = Momentum(0.5)
    >>> _, state = rule.update(np.array([[2.0]]), rule.init(np.zeros((1, 1))), np.zeros((1, 1)))
    >>> rule.update(np.array([[2.0]]), state, np.zeros((1, 1)))[0]
    array([[3.]])
    """

    momentum: float = field(default=0.9, metadata={"check": below_one})

    def update(self, gradient: np.ndarray, state: RuleState, w: np.ndarray) -> tuple[np.ndarray, RuleState]:
        velocity = self.momentum * state.mean + gradient
        scale = (1.0 - self.momentum ** (state.t + 1)) / (1.0 - self.momentum)
        return velocity, RuleState(state.t + 1, np.array(scale), mean=velocity)


@dataclass(frozen=True)
class Nesterov(Momentum):
    """v <- momentum v + gradient; the direction is gradient + momentum v, where the velocity is about to lead.

    Source: Y. Nesterov, A Method of Solving a Convex Programming Problem with Convergence Rate O(1/k^2) (1983), in
    the form of I. Sutskever et al., On the Importance of Initialization and Momentum in Deep Learning (2013).
    """

    def update(self, gradient: np.ndarray, state: RuleState, w: np.ndarray) -> tuple[np.ndarray, RuleState]:
        velocity, state = super().update(gradient, state, w)
        return gradient + self.momentum * velocity, replace(state, scale=1.0 + self.momentum * state.scale)


def _inverse_root(squares: np.ndarray, epsilon: float) -> np.ndarray:
    """1 / (sqrt(squares) + epsilon), and zero where no gradient was ever seen: there the prox must not move either."""
    return np.where(squares > 0.0, 1.0, 0.0) / (np.sqrt(squares) + epsilon)


@dataclass(frozen=True)
class AdaGrad(Rule):
    """q <- q + gradient^2; the direction is gradient / (sqrt(q) + epsilon), coordinate by coordinate.

    Source: J. Duchi, E. Hazan, Y. Singer, Adaptive Subgradient Methods for Online Learning and Stochastic
    Optimization (2011), which also gives the proximal step in the stretched coordinates.

    >>> rule, w = AdaGrad(), np.zeros((1, 1))
    >>> _, state = rule.update(np.array([[4.0]]), rule.init(w), w)
    >>> rule.update(np.array([[3.0]]), state, w)[0].round(6)
    array([[0.6]])
    """

    epsilon: float = field(default=1e-8, metadata={"check": positive})

    def update(self, gradient: np.ndarray, state: RuleState, w: np.ndarray) -> tuple[np.ndarray, RuleState]:
        squares = self._add(state.squares, np.square(gradient))
        scale = _inverse_root(squares, self.epsilon)
        return gradient * scale, RuleState(state.t + 1, scale, squares=squares)

    def _add(self, squares: np.ndarray, new: np.ndarray) -> np.ndarray:
        return squares + new


@dataclass(frozen=True)
class RmsProp(AdaGrad):
    """q <- decay q + (1 - decay) gradient^2; the direction is gradient / (sqrt(q) + epsilon).

    Source: T. Tieleman and G. Hinton, Lecture 6.5: RMSProp (2012).
    """

    decay: float = field(default=0.9, metadata={"check": below_one})

    def _add(self, squares: np.ndarray, new: np.ndarray) -> np.ndarray:
        return self.decay * squares + (1.0 - self.decay) * new


@dataclass(frozen=True)
class Adam(Rule):
    """m <- beta1 m + (1 - beta1) gradient, q <- beta2 q + (1 - beta2) gradient^2; both means begin at zero.

    The direction is m / (1 - beta1^t) / (sqrt(q / (1 - beta2^t)) + epsilon): the divisors undo the pull of that zero.
    Source: D. Kingma and J. Ba, Adam: A Method for Stochastic Optimization (2015).

    >>> rule = Adam()
    >>> direction, state = rule.update(np.array([[4.0]]), rule.init(np.zeros((1, 1))), np.zeros((1, 1)))
    >>> direction.round(6), state.t
    (array([[1.]]), 1)
    """

    beta1: float = field(default=0.9, metadata={"check": below_one})
    beta2: float = field(default=0.999, metadata={"check": below_one})
    epsilon: float = field(default=1e-8, metadata={"check": positive})

    def update(self, gradient: np.ndarray, state: RuleState, w: np.ndarray) -> tuple[np.ndarray, RuleState]:
        t = state.t + 1
        mean = self.beta1 * state.mean + (1.0 - self.beta1) * gradient
        squares = self.beta2 * state.squares + (1.0 - self.beta2) * np.square(gradient)
        scale = _inverse_root(squares / (1.0 - self.beta2**t), self.epsilon)
        return mean / (1.0 - self.beta1**t) * scale, RuleState(t, scale, mean, squares)


def _mask(value: Any, name: str) -> np.ndarray | None:
    mask = None if value is None else np.array(value, float)
    if mask is not None and not (mask.ndim == 1 and np.all((mask == 0.0) | (mask == 1.0))):
        raise ParamError(f"{name}={value!r} must have shape (n,) and hold zeros and ones.")
    return mask


@dataclass(frozen=True, eq=False)
class WeightDecay(Rule):
    """direction + weight_decay w: an L2 penalty that the rules before it in the chain do not stretch.

    `mask`, (n,), is one where a weight decays and zero where it must not: an intercept never should. Without a mask
    all decay. After Adam this is AdamW.
    Source: I. Loshchilov and F. Hutter, Decoupled Weight Decay Regularization (2019).

    >>> rule, w = WeightDecay(0.1, mask=np.array([1.0, 0.0])), np.array([[2.0], [3.0]])
    >>> rule.update(np.ones((2, 1)), rule.init(w), w)[0].ravel()
    array([1.2, 1. ])
    """

    weight_decay: float = field(default=0.01, metadata={"check": nonnegative})
    mask: np.ndarray | None = field(default=None, metadata={"check": _mask})

    def update(self, gradient: np.ndarray, state: RuleState, w: np.ndarray) -> tuple[np.ndarray, RuleState]:
        if self.mask is None:
            return gradient + self.weight_decay * w, state
        if len(self.mask) != len(w):
            raise ParamError(f"mask has {len(self.mask)} entries for {len(w)} weights.")
        mask = self.mask.reshape(-1, *(1,) * (w.ndim - 1))
        return gradient + self.weight_decay * mask * w, state


@dataclass(frozen=True)
class ClipByValue(Rule):
    """Each entry of the direction, limited to [-bound, bound].

    >>> rule = ClipByValue(1.0)
    >>> rule.update(np.array([[-4.0], [0.5]]), rule.init(np.zeros((2, 1))), np.zeros((2, 1)))[0].ravel()
    array([-1. ,  0.5])
    """

    bound: float = field(metadata={"check": positive})

    def update(self, gradient: np.ndarray, state: RuleState, w: np.ndarray) -> tuple[np.ndarray, RuleState]:
        scale = self.bound / np.maximum(self._size(gradient), self.bound)
        return gradient * scale, RuleState(state.t + 1, scale)

    def _size(self, gradient: np.ndarray) -> np.ndarray:
        return np.abs(gradient)


@dataclass(frozen=True)
class ClipByNorm(ClipByValue):
    """Each column of the direction, shortened to the Euclidean norm `bound` where it is longer.

    Source: R. Pascanu, T. Mikolov, Y. Bengio, On the Difficulty of Training Recurrent Neural Networks (2013).

    >>> rule = ClipByNorm(1.0)
    >>> rule.update(np.array([[3.0], [4.0]]), rule.init(np.zeros((2, 1))), np.zeros((2, 1)))[0].ravel()
    array([0.6, 0.8])
    """

    def _size(self, gradient: np.ndarray) -> np.ndarray:
        return column_norms(gradient)


def column_norms(x: np.ndarray) -> np.ndarray:
    """The Euclidean norm of each column of x (n, K), safe from overflow, (K,).

    A column is summed in memory of its own: NumPy's order of a sum, so its bits, depends on the layout.

    >>> column_norms(np.array([[3.0, 0.0], [4.0, 0.0]]))
    array([5., 0.])
    """
    columns = np.ascontiguousarray(np.reshape(x, (len(x), -1)).T)
    largest = np.abs(columns).max(axis=1, initial=np.finfo(float).tiny)
    return largest * np.sqrt([np.square(column / most).sum() for column, most in zip(columns, largest, strict=True)])


@dataclass(frozen=True, eq=False)
class ChainState:
    """The states of the links."""

    links: tuple[Any, ...]


@dataclass(frozen=True)
class Chain(Rule):
    """Each rule takes what the one before it returns; see `chain`."""

    rules: tuple[Rule, ...]

    def init(self, w: np.ndarray) -> ChainState:
        return ChainState(tuple(rule.init(w) for rule in self.rules))

    def update(self, gradient: np.ndarray, state: ChainState, w: np.ndarray) -> tuple[np.ndarray, ChainState]:
        links = []
        for rule, link in zip(self.rules, state.links, strict=True):
            gradient, after = rule.update(gradient, link, w)
            links.append(after)
        return gradient, ChainState(tuple(links))

    def scales(self, state: ChainState) -> np.ndarray:
        scales = (rule.scales(link) for rule, link in zip(self.rules, state.links, strict=True))
        return math.prod(scales, start=np.array(1.0))


def chain(*rules: Rule) -> Chain:
    """The rules one after the other; a chain among them is taken apart.

    >>> chain(ClipByNorm(1.0), Momentum(0.9), Descend(0.1)).rules[-1]
    Descend(schedule=Constant(step_size=0.1))
    """
    links: list[Rule] = []
    for rule in rules:
        links += rule.rules if isinstance(rule, Chain) else [rule]
    return Chain(tuple(links))


@dataclass(frozen=True, eq=False)
class AveragedState:
    """The state of the rule, the mean of the weights that were averaged, (n, K), and the number of the next step."""

    inner: Any
    average: np.ndarray
    t: int = 0


@dataclass(frozen=True)
class Averaged(Rule):
    """The steps of a rule, and `state.average`, the mean of the weights at which it was updated.

    The weights before update number `start` are left out; until then the average is where the weights are.
    Source: B. Polyak and A. Juditsky, Acceleration of Stochastic Approximation by Averaging (1992).

    >>> rule, w = Averaged(Descend(0.5)), np.array([[4.0]])
    >>> state = rule.init(w)
    >>> for _ in range(3):  # at 4, 2 and 1
    ...     step, state = rule.update(w, state, w)
    ...     w = w + step
    >>> state.average
    array([[1.5]])
    """

    rule: Rule
    start: int = field(default=1, metadata={"check": count})

    def init(self, w: np.ndarray) -> AveragedState:
        return AveragedState(self.rule.init(w), np.array(w, float))

    def update(self, gradient: np.ndarray, state: AveragedState, w: np.ndarray) -> tuple[np.ndarray, AveragedState]:
        step, inner = self.rule.update(gradient, state.inner, w)
        seen = max(state.t - self.start, 0)
        average = state.average + (w - state.average) / (seen + 1.0) if seen else np.array(w, float)
        return step, AveragedState(inner, average, state.t + 1)

    def scales(self, state: AveragedState) -> np.ndarray:
        return self.rule.scales(state.inner)


RULES: dict[str, tuple[type[Rule], ...]] = {
    "plain": (),
    "momentum": (Momentum,),
    "nesterov": (Nesterov,),
    "adagrad": (AdaGrad,),
    "rmsprop": (RmsProp,),
    "adam": (Adam,),
    "adamw": (Adam, WeightDecay),
}


def named_rule(name: str, schedule: ScheduleLike, **settings: Any) -> Chain:
    """A rule of the table `RULES`, followed by `Descend(schedule)`.

    Raises `ParamError` where the name, a setting or a value is not possible.

    >>> named_rule("momentum", 0.1, momentum=0.5)
    Chain(rules=(Momentum(momentum=0.5), Descend(schedule=Constant(step_size=0.1))))
    """
    kinds: Any = pick("rule", name, RULES)
    check_settings(name, settings, kinds)
    links = [kind(**{f.name: settings[f.name] for f in fields(kind) if f.name in settings}) for kind in kinds]
    return chain(*links, Descend(as_schedule(schedule, "schedule")))


def state_arrays(state: Any) -> dict[str, np.ndarray]:
    """The state of a rule, or of an adaptive step size, as named arrays that `sparkdml.arrays.dump` can write.

    >>> state_arrays(Descend(0.1).init(np.zeros((1, 1))))
    {'t': array(0), 'scale': array(1.), 'mean': array(0.), 'squares': array(0.)}
    """
    return {name: np.array(int(leaf) if isinstance(leaf, bool) else leaf) for name, leaf in _leaves(state, "")}


def _leaves(value: Any, name: str) -> Iterator[tuple[str, Any]]:
    if is_dataclass(value):
        parts = [(each.name, getattr(value, each.name)) for each in fields(value)]
    elif isinstance(value, tuple):
        parts = [(str(i), part) for i, part in enumerate(value)]
    else:
        yield name, value
        return
    for key, part in parts:
        yield from _leaves(part, f"{name}.{key}" if name else key)


class Starts(Protocol):
    """A rule, or an adaptive step size: what has a first state."""

    def init(self, start: Any, /) -> Any:
        """The first state."""


def state_from_arrays(rule: Starts, arrays: Mapping[str, np.ndarray]) -> Any:
    """The state that `state_arrays` took apart, for the rule that made it: it goes on with the same bits.

    Raises `FormatError` where the names or the kinds of the arrays are not those of such a state.

    >>> rule = Descend(0.1)
    >>> _, state = rule.update(np.ones((1, 1)), rule.init(np.zeros((1, 1))), np.zeros((1, 1)))
    >>> state_from_arrays(rule, state_arrays(state)).t
    1
    """
    blank = rule.init(1.0)
    expected = state_arrays(blank)
    require(set(arrays) == set(expected), f"a state with {sorted(expected)} was expected, not {sorted(arrays)}")
    return _restored(blank, "", arrays)


def _restored(blank: Any, name: str, arrays: Mapping[str, np.ndarray]) -> Any:
    inside = f"{name}." if name else ""
    if is_dataclass(blank):
        values = {f.name: _restored(getattr(blank, f.name), inside + f.name, arrays) for f in fields(blank)}
        return replace(blank, **values)  # type: ignore[type-var]
    if isinstance(blank, tuple):
        return tuple(_restored(part, f"{inside}{i}", arrays) for i, part in enumerate(blank))
    array = np.asarray(arrays[name])
    if isinstance(blank, np.ndarray):
        require(array.dtype.kind == "f", f"{name} is not an array of floats")
        return array.copy()
    require(array.ndim == 0 and (array.dtype.kind in "iu") == isinstance(blank, int), f"{name} is not one number")
    return type(blank)(array)
