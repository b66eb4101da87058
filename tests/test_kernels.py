"""The sums of a pass: each query is its plain formula over all rows, however the rows are stored, cut or ordered."""

from collections.abc import Callable
from dataclasses import fields, replace

import numpy as np
import pytest
from problems import ALL_LOSSES, Rows, class_rows, random_features, standardized
from scipy.sparse import csr_array

from sparkdml.blocks.block import Block
from sparkdml.engine import margins
from sparkdml.engine.data import LocalData, Reading
from sparkdml.engine.kernels import KERNELS, Kernels
from sparkdml.engine.moments import Moments
from sparkdml.optim.losses import Loss, generalized_linear
from sparkdml.optim.queries import (
    Answer,
    Describe,
    Goodness,
    GoodnessSums,
    Gradient,
    GradientSums,
    Gram,
    GramSums,
    HeldOut,
    HeldOutSums,
    Hessian,
    HessianSums,
    Line,
    LineSums,
    ObservedHessian,
    Query,
    Scores,
)

STEPS = np.array([-0.5, 0.0, 0.25, 1.0])


def some_weights(rows: Rows, loss: Loss, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    w, b = rng.normal(size=(rows.features.shape[1], loss.margins)), rng.normal(size=loss.margins)
    free = loss.margins - loss.constants
    w[:, free:], b[free:] = 0.0, 2.0 + np.abs(b[free:])
    return w, b


def make_gradient(rows: Rows, loss: Loss, fold: int, seed: int) -> Gradient:
    return Gradient(loss, *some_weights(rows, loss, seed), fold)


def make_line(rows: Rows, loss: Loss, fold: int, seed: int) -> Line:
    return Line(loss, *some_weights(rows, loss, seed), *some_weights(rows, loss, seed + 50), STEPS, fold)


def some_shift(size: int, seed: int) -> np.ndarray:
    shift = np.random.default_rng(seed).normal(size=size)
    shift[1::3] = 0.0  # columns that stay sparse
    return shift


def make_gram(rows: Rows, loss: Loss, fold: int, seed: int) -> Gram:
    return Gram(some_shift(rows.features.shape[1] + 1, seed), fold)


def make_hessian(rows: Rows, loss: Loss, fold: int, seed: int) -> Hessian:
    return Hessian(loss, *some_weights(rows, loss, seed), some_shift(rows.features.shape[1], seed % 2), fold)


def make_scores(rows: Rows, loss: Loss, fold: int, seed: int) -> Scores:
    hessian = make_hessian(rows, loss, fold, seed)
    return Scores(loss, hessian.w, hessian.b, hessian.shift, fold)


def make_observed(rows: Rows, loss: Loss, fold: int, seed: int) -> ObservedHessian:
    hessian = make_hessian(rows, loss, fold, seed)
    return ObservedHessian(loss, hessian.w, hessian.b, hessian.shift, fold)


def make_held_out(rows: Rows, loss: Loss, fold: int, seed: int) -> HeldOut:
    return HeldOut(loss, *some_weights(rows, loss, seed), fold)


def make_goodness(rows: Rows, loss: Loss, fold: int, seed: int) -> Goodness:
    """Of normal labels, which may be any number: other losses of this kind have tests of their own."""
    normal = generalized_linear("gaussian")
    return Goodness(normal, *some_weights(rows, normal, seed), fold)


MAKE: dict[type, Callable[[Rows, Loss, int, int], Query]] = {
    Gradient: make_gradient,
    Line: make_line,
    Gram: make_gram,
    Hessian: make_hessian,
    ObservedHessian: make_observed,
    Scores: make_scores,
    HeldOut: make_held_out,
    Goodness: make_goodness,
}

every_query = pytest.mark.parametrize("kind", MAKE, ids=lambda kind: kind.__name__)
every_loss = pytest.mark.parametrize("loss", ALL_LOSSES.values(), ids=ALL_LOSSES.keys())


def plain(query: Query, rows: Rows) -> Answer:
    """The formula of the docstring over all rows at once."""
    X, y = rows.dense, rows.label
    offset = np.zeros(len(y)) if rows.offset is None else rows.offset
    factors = np.array([query.class_weights.get(label, 1.0) for label in y])
    held_out = np.zeros(len(y), bool) if rows.fold is None else rows.fold == query.fold
    s = np.where(held_out == isinstance(query, HeldOut), factors * rows.weights, 0.0)
    if isinstance(query, Gram):
        V = np.column_stack([X, y - offset]) - query.shift
        return GramSums(s.sum(), s @ V, ((V.T * s) @ V)[np.tril_indices(len(query.shift))])
    free = np.arange(query.loss.margins) < query.loss.margins - query.loss.constants
    z = X @ query.w + query.b + offset[:, None] * free
    if isinstance(query, HeldOut):
        return HeldOutSums(s @ query.loss.value(y, z), s.sum())
    if isinstance(query, Goodness):
        value = s @ query.loss.value(y, z)
        return GoodnessSums(np.sum(s > 0.0), s.sum(), value, 2.0 * value, s.sum(), 0.5 * np.log(s[s > 0.0]).sum())
    if isinstance(query, Hessian):
        slopes = s[:, None] * query.loss.gradient(y, z)
        h = {
            Hessian: s[:, None, None] * query.loss.fisher(y, z),
            ObservedHessian: s[:, None, None] * query.loss.hessian(y, z),
            Scores: slopes[:, :, None] * slopes[:, None, :],
        }[type(query)]
        V = np.column_stack([X - query.shift, np.ones(len(y))])
        pairs = zip(*np.tril_indices(query.loss.margins), strict=True)
        return HessianSums(s.sum(), np.array([((V.T * h[:, a, b]) @ V)[np.tril_indices(V.shape[1])] for a, b in pairs]))
    if isinstance(query, Gradient):
        R = s[:, None] * query.loss.gradient(y, z)
        return GradientSums(s @ query.loss.value(y, z), X.T @ R, R.sum(axis=0), s.sum())
    dz = X @ query.dw + query.db
    at = [z + t * dz for t in query.steps]
    slopes = [np.sum(s[:, None] * query.loss.gradient(y, each) * dz) for each in at]
    return LineSums(np.array([s @ query.loss.value(y, each) for each in at]), np.array(slopes), s.sum())


def assert_same(found: Answer, expected: Answer, times: float = 1.0, tol: float = 1e-12) -> None:
    """Equal up to rounding, relative to the largest number of each field."""
    assert type(found) is type(expected)
    for f in fields(expected):
        a, b = np.asarray(getattr(found, f.name)), times * np.asarray(getattr(expected, f.name))
        assert a.shape == b.shape
        np.testing.assert_allclose(a, b, rtol=tol, atol=tol * max(np.abs(b).max(), 1.0), err_msg=f.name)


def test_every_kind_of_query_has_its_kernel_and_is_tested() -> None:
    assert set(KERNELS) == {*MAKE, Describe}  # statistics are no plain sums: their laws stand in test_stats


@pytest.mark.thinned
@every_query
@every_loss
@pytest.mark.parametrize("fold", [-1, 2])
def test_an_answer_is_the_plain_formula_in_any_cut(kind: type, loss: Loss, fold: int) -> None:
    rows = class_rows(40)
    query = MAKE[kind](rows, loss, fold, 0)
    expected = plain(query, rows)
    for partitions in (1, 7, 60):
        assert_same(rows.local(partitions).run([query])[0], expected)
        assert_same(rows.sparse.local(partitions).run([query])[0], expected)


@pytest.mark.thinned
@every_query
@every_loss
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_answers_do_not_depend_on_chunks_or_order(kind: type, loss: Loss, sparse: bool) -> None:
    rows = class_rows(n=200)
    rows = rows.sparse if sparse else rows
    query = MAKE[kind](rows, loss, 1, 0)
    expected = plain(query, rows)
    order = np.random.default_rng(1).permutation(200)
    for chunk_bytes, each in ((1, rows), (1000, rows.take(order)), (1 << 25, rows), (1 << 25, rows.take(order))):
        assert_same(each.local(3).run([query], Reading(chunk_bytes=chunk_bytes))[0], expected)


# The products of rows' gradients have squares of the weights, and the likelihood of normal labels counts rows.
LINEAR_IN_WEIGHTS = [kind for kind in MAKE if kind not in (Scores, Goodness)]


@pytest.mark.parametrize("kind", LINEAR_IN_WEIGHTS, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_weight_two_is_the_row_twice_and_weight_zero_is_no_row(kind: type, sparse: bool) -> None:
    rows = replace(class_rows(), weight=np.random.default_rng(0).integers(0, 3, 200).astype(float))
    rows = rows.sparse if sparse else rows
    assert rows.weight is not None
    repeated = replace(rows.take(np.repeat(np.arange(200), rows.weight.astype(int))), weight=None)
    for loss in ALL_LOSSES.values():
        query = MAKE[kind](rows, loss, 2, 0)
        assert_same(rows.local(2).run([query])[0], repeated.local(2).run([query])[0])


@every_query
@every_loss
def test_rows_stacked_on_themselves_are_twice_the_sum(kind: type, loss: Loss) -> None:
    rows = class_rows()
    query = MAKE[kind](rows, loss, 0, 0)
    twice = rows.take(np.tile(np.arange(200), 2))
    assert_same(twice.local(3).run([query])[0], rows.local(3).run([query])[0], times=2.0)


CLASS_WEIGHTS = [{}, {2.0: 5.0}, {2.0: 0.5, 1.0: 0.0, 99.0: 7.0}]


@pytest.mark.thinned
@every_query
@every_loss
@pytest.mark.parametrize("class_weights", CLASS_WEIGHTS)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_class_weights_are_weights(kind: type, loss: Loss, class_weights: dict[float, float], sparse: bool) -> None:
    rows = class_rows()
    rows = replace(rows, label=np.rint(rows.label))
    rows = rows.sparse if sparse else rows
    factors = np.array([class_weights.get(label, 1.0) for label in rows.label])
    for weighted, own in ((rows, rows.weights), (replace(rows, weight=None), np.ones(200))):
        query = replace(MAKE[kind](rows, loss, 1, 0), class_weights=class_weights)
        plainly = replace(query, class_weights={})
        (expected,) = replace(rows, weight=own * factors).local(2).run([plainly])
        assert_same(weighted.local(2).run([query])[0], expected)


@every_loss
def test_what_is_held_out_and_what_is_not_is_all(loss: Loss) -> None:
    rows = class_rows()
    held_out = make_held_out(rows, loss, 1, 0)
    kept, every = (Gradient(loss, held_out.w, held_out.b, fold) for fold in (1, -1))
    left, rest, whole = rows.local(3).run([held_out, kept, every])
    assert left.value + rest.value == pytest.approx(whole.value, rel=1e-12)
    assert left.weight + rest.weight == pytest.approx(whole.weight, rel=1e-12)


def test_many_queries_of_all_kinds_share_a_pass_and_keep_their_places() -> None:
    rows = class_rows()
    rows = replace(rows, label=np.rint(rows.label))
    data = rows.local(3)
    queries = [
        replace(MAKE[kind](rows, loss, fold, seed), class_weights=class_weights)
        for seed, class_weights in enumerate(CLASS_WEIGHTS)
        for fold in (-1, 1)
        for loss in ALL_LOSSES.values()
        for kind in MAKE
    ]
    queries = [queries[i] for i in np.random.default_rng(0).permutation(len(queries))]
    answers = data.run(queries)
    assert data.passes == 1
    for query, answer in zip(queries, answers, strict=True):
        assert_same(answer, plain(query, rows))


def test_blocks_of_both_kinds_add_up() -> None:
    """A partition may hold dense blocks and CSR blocks."""
    rows = class_rows()
    queries = [MAKE[kind](rows, loss, 1, 0) for kind in MAKE for loss in ALL_LOSSES.values()]
    kernels = Kernels(queries, 7)
    for i, part in enumerate(np.array_split(np.arange(200), 5)):
        piece = rows.take(part)
        features = csr_array(piece.features) if i % 2 else piece.features
        kernels.add(Block(features, piece.label, piece.weight, piece.offset, piece.fold))
    for query, answer in zip(queries, kernels.answers(), strict=True):
        assert_same(answer, plain(query, rows))


@pytest.mark.parametrize("loss", [loss for loss in ALL_LOSSES.values() if loss.quadratic], ids=str)
def test_two_points_tell_the_line_of_a_quadratic_loss(loss: Loss) -> None:
    data = class_rows().local()
    problem = standardized(data, True, 0.1, 0.2, loss=loss)
    assert problem.tells_lines
    start, end = np.random.default_rng(0).normal(size=(2, len(problem.start)))
    queries = [
        problem.gradient_query(start),
        problem.gradient_query(end),
        problem.line_query(start, end - start, STEPS),
    ]
    first, last, line = data.run(queries)
    told = problem.objectives_between(problem.point(start, first), problem.point(end, last), STEPS)
    np.testing.assert_allclose(told, problem.line_objectives(start, end - start, STEPS, line), rtol=1e-12)


@every_loss
def test_a_line_is_the_gradient_at_each_of_its_points(loss: Loss) -> None:
    rows = class_rows()
    data = rows.local(2)
    line = make_line(rows, loss, 1, 0)
    (along,) = data.run([line])
    points = [Gradient(loss, line.w + t * line.dw, line.b + t * line.db, 1) for t in STEPS]
    for t, answer in enumerate(data.run(points)):
        assert along.values[t] == pytest.approx(answer.value, rel=1e-12)
        slope = np.sum(answer.w * line.dw) + answer.b @ line.db
        assert along.slopes[t] == pytest.approx(slope, rel=1e-11, abs=1e-11 * along.weight)


# The second derivatives of the others jump where a row's margin may be.
TWICE_SMOOTH = [loss.smoothed(0.5) for name, loss in ALL_LOSSES.items() if name not in ("huber", "squaredHinge")]
every_twice_smooth_loss = pytest.mark.parametrize("loss", TWICE_SMOOTH, ids=lambda loss: loss.name)


@every_twice_smooth_loss
def test_the_gradient_is_the_derivative_of_the_value(loss: Loss) -> None:
    rows = class_rows()
    data, h = rows.local(2), 1e-3
    line = replace(make_line(rows, loss, -1, 0), steps=np.array([-2.0, -1.0, 1.0, 2.0]) * h)
    along, at = data.run([line, Gradient(loss, line.w, line.b)])
    numeric = np.array([1.0, -8.0, 8.0, -1.0]) @ along.values / (12 * h)
    assert numeric == pytest.approx(np.sum(at.w * line.dw) + at.b @ line.db, rel=1e-7)


@every_query
@every_loss
def test_the_size_is_that_of_the_answer(kind: type, loss: Loss) -> None:
    rows = class_rows()
    query = MAKE[kind](rows, loss, -1, 0)
    (answer,) = rows.local().run([query])
    assert query.size == 8 * sum(np.size(getattr(answer, f.name)) for f in fields(answer))


@every_twice_smooth_loss
def test_the_hessian_is_the_derivative_of_the_gradient(loss: Loss) -> None:
    rows = class_rows()
    data, h = rows.take(np.flatnonzero(loss.domain(rows.label))).local(2), 1e-3
    problem = standardized(data, True, loss=loss)
    theta = np.random.default_rng(0).normal(size=len(problem.start))
    columns = []
    for unit in np.eye(len(theta)):
        points = [theta + k * h * unit for k in (-2, -1, 1, 2)]
        answers = data.run([problem.gradient_query(point) for point in points])
        slopes = [problem.point(at, each).gradient for at, each in zip(points, answers, strict=True)]
        columns.append(np.array([1.0, -8.0, 8.0, -1.0]) @ slopes / (12 * h))
    (answer,) = data.run([problem.hessian_query(theta)])
    np.testing.assert_allclose(problem.hessian(answer), columns, atol=1e-8)


@every_loss
@pytest.mark.parametrize("intercept", [True, False], ids=["intercept", "origin"])
def test_scores_are_products_of_the_gradients_of_single_rows(loss: Loss, intercept: bool) -> None:
    rows = class_rows(40)
    data, problem = rows.local(3), standardized(rows.local(), intercept, loss=loss)
    theta = np.random.default_rng(0).normal(size=len(problem.start))
    (answer,) = data.run([problem.scores_query(theta)])
    expected = np.zeros((len(theta), len(theta)))
    for i in np.flatnonzero(rows.weights):
        (each,) = rows.take(np.array([i])).local().run([problem.gradient_query(theta)])
        gradient = problem.point(theta, each).gradient * rows.weights[i]
        expected += np.outer(gradient, gradient) / rows.weights.sum()
    np.testing.assert_allclose(problem.hessian(answer), expected, rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("count", [1, 3])
def test_moments_take_negative_weights(sparse: bool, count: int) -> None:
    X, last = random_features(1200), np.linspace(-1.0, 1.0, 1200)
    h = np.random.default_rng(0).normal(size=(1200, count))
    moments = Moments(some_shift(7, 0), count)
    first = moments.add(csr_array(X) if sparse else X, last, h)
    V = np.column_stack([X - some_shift(7, 0), last])
    np.testing.assert_allclose(first, h.T @ V, atol=1e-10)
    full = np.einsum("ni,nm,nj->mij", V, h, V)
    np.testing.assert_allclose(moments.triangles(), full[:, *np.tril_indices(8)], atol=1e-9)


def test_a_gram_matrix_about_the_mean_keeps_the_digits_of_a_distant_column() -> None:
    near = np.random.default_rng(0).integers(-1000, 1000, (500, 3)) / 512.0
    rows = Rows(near + 1e6, near[:, 0] - 2e6)
    for each in (rows, rows.sparse):
        (sums,) = each.local(7).run([Gram(np.array([1e6, 1e6, 1e6, -2e6]))])
        V = np.column_stack([near, near[:, 0]])
        np.testing.assert_allclose(sums.matrix(), V.T @ V, rtol=1e-13, atol=1e-9)


def test_numbers_stored_twice_in_a_place_are_their_sum() -> None:
    twice = csr_array((np.array([1.0, 2.0, 4.0]), np.array([1, 1, 0]), np.array([0, 2, 3])), shape=(2, 2))
    label, once = np.array([1.0, 3.0]), np.array([[0.0, 3.0], [4.0, 0.0]])
    found, expected = (LocalData(X, label).run([Gram(np.zeros(3))])[0] for X in (twice, csr_array(once)))
    assert isinstance(found, GramSums)
    assert isinstance(expected, GramSums)
    np.testing.assert_array_equal(found.second, expected.second)
    assert twice.nnz == 3  # the caller's matrix is left as it is


@pytest.mark.parametrize("columns", [1, 48, 100, 1000, 1001])
@pytest.mark.parametrize("models", [1, 2, 4])
def test_rows_times_weights_are_the_same_on_every_processor(
    columns: int, models: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(columns)
    X, W = rng.normal(size=(33, columns)), rng.normal(size=(columns, models))
    for intel in (False, True):
        monkeypatch.setattr(margins, "_is_intel", lambda intel=intel: intel)
        np.testing.assert_allclose(margins.times(X, W), X @ W, rtol=0.0, atol=1e-12)
