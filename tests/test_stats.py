"""Statistics are those of the whole, however the rows are cut, stored, ordered or merged."""

from dataclasses import replace
from functools import reduce

import numpy as np
import pytest
from problems import Rows, random_rows

from sparkdml.blocks import cells
from sparkdml.blocks.block import Block, concatenate, settle
from sparkdml.blocks.cells import MAX_CELLS
from sparkdml.blocks.stats import MAX_CLASSES, MAX_LABELS, VAST, Statistics

PARTITIONS = [1, 2, 7, 64, 300]


def check(found: Statistics, rows: Rows) -> None:
    """Compare with the textbook's formulas over the rows of positive weight."""
    s, heavy = rows.weights, rows.weights > 0
    V = np.column_stack([rows.dense, rows.label])
    mean = s @ V / s.sum()
    m2 = s @ np.square(V - mean)
    assert found.count == len(V)
    assert found.weight == pytest.approx(s.sum(), rel=1e-13)
    np.testing.assert_allclose(found.mean, mean, rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(found.m2, m2, rtol=1e-12, atol=1e-24)
    np.testing.assert_allclose(found.variance, m2 / s.sum(), rtol=1e-12, atol=1e-24)
    np.testing.assert_allclose(found.sample_variance, m2 / (s.sum() - s @ s / s.sum()), rtol=1e-12, atol=1e-24)
    np.testing.assert_array_equal(found.low, V[heavy].min(axis=0))
    np.testing.assert_array_equal(found.high, V[heavy].max(axis=0))
    assert found.nonzeros == np.count_nonzero(V[heavy, :-1])
    y = V[heavy, -1]
    np.testing.assert_array_equal(found.vast, np.count_nonzero(np.abs(V[heavy]) > VAST, axis=0))
    np.testing.assert_array_equal(
        found.ranges, [(y < 0).sum(), (y == 0).sum(), ((y > 0) & (y <= 1)).sum(), (y > 1).sum()]
    )
    if rows.offset is not None:
        assert found.net is not None
        net = Rows(np.empty((len(V), 0)), rows.label - rows.offset, rows.weight)
        check(found.net, net)
        check(found.net_of_offset, replace(rows, label=net.label, offset=None))
        np.testing.assert_array_equal(found.offsets, [rows.offset[heavy].min(), rows.offset[heavy].max()])
        assert found.mean_offset == pytest.approx(s @ rows.offset / s.sum(), abs=1e-13)


@pytest.mark.parametrize("partitions", PARTITIONS)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("weighted", [False, True], ids=["unweighted", "weighted"])
def test_moments_are_those_of_the_whole(partitions: int, sparse: bool, weighted: bool) -> None:
    rows = random_rows(density=0.4)
    rows = rows if weighted else replace(rows, weight=None)
    rows = rows.sparse if sparse else rows
    check(rows.local(partitions).statistics, rows)
    check(rows.take(np.random.default_rng(0).permutation(200)).local(partitions).statistics, rows)


def block_of(rows: Rows) -> Block:
    return Block(rows.features, rows.label, rows.weight, rows.offset, rows.fold)


def test_any_order_of_merging_agrees() -> None:
    rows = random_rows()
    pieces = [Statistics.of(block_of(rows.take(part))) for part in np.array_split(np.arange(200), 9)]
    nothing = Statistics.empty(7)
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(9)
        check(reduce(Statistics.merge, [nothing, *(pieces[i] for i in order), nothing]), rows)
        left, right = (reduce(Statistics.merge, [pieces[i] for i in half]) for half in (order[:4], order[4:]))
        check(left.merge(right), rows)


def test_weight_two_is_the_row_twice() -> None:
    rows = replace(random_rows(), weight=np.random.default_rng(0).integers(0, 3, 200).astype(float))
    assert rows.weight is not None
    twice = replace(rows.take(np.repeat(np.arange(200), rows.weight.astype(int))), weight=None)
    a, b = rows.local().statistics, twice.local().statistics
    np.testing.assert_allclose(a.mean, b.mean, rtol=1e-12)
    np.testing.assert_allclose(a.m2, b.m2, rtol=1e-12)
    assert a.weight == b.weight


@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
@pytest.mark.parametrize("partitions", PARTITIONS)
def test_a_column_that_never_changes_has_exactly_no_variance(sparse: bool, partitions: int) -> None:
    constants = np.array([0.1, -1e6 / 3, 0.0, 1e-300])
    weight = np.random.default_rng(0).exponential(size=200) * (np.arange(200) % 10 > 0)
    X = np.tile(constants, (200, 1))
    X[weight == 0.0] = 5.0  # rows of no weight do not count
    rows = Rows(X, np.full(200, 0.3), weight)
    found = (rows.sparse if sparse else rows).local(partitions).statistics
    np.testing.assert_array_equal(found.variance, 0.0)
    np.testing.assert_array_equal(found.center, [*constants, 0.3])


def test_a_small_spread_about_a_large_mean_is_kept() -> None:
    near = np.random.default_rng(0).integers(-1000, 1000, (999, 2)) / 512.0
    for rows in (Rows(near + 1e6, near[:, 0]), Rows(near + 1e6, near[:, 0]).sparse):
        found = rows.local(7).statistics
        np.testing.assert_allclose(found.variance[:2], near.var(axis=0), rtol=1e-9)


@pytest.mark.parametrize("partitions", [1, 7])
def test_labels_are_counted_with_their_weights(partitions: int) -> None:
    label = np.random.default_rng(0).integers(-1, 3, 200).astype(float)
    rows = replace(random_rows(), label=label)
    found = rows.local(partitions).statistics.labels
    assert found is not None
    assert sorted(found) == [-1.0, 0.0, 1.0, 2.0]
    for value, (count, weight) in found.items():
        assert count == np.sum(label == value)
        assert weight == pytest.approx(rows.weights[label == value].sum(), rel=1e-12)


@pytest.mark.parametrize(
    ("distinct", "unit", "counted"),
    [
        (MAX_LABELS, 0.5, True),
        (MAX_LABELS + 1, 0.5, False),
        (MAX_LABELS + 1, -1.0, False),
        (MAX_CLASSES, 1.0, True),
        (MAX_CLASSES + 1, 1.0, False),
    ],
)
def test_labels_of_too_many_values_are_not_counted(distinct: int, unit: float, counted: bool) -> None:
    label = np.arange(2 * distinct) % distinct * unit
    for partitions in (1, 16):
        found = Rows(np.zeros((2 * distinct, 1)), label).local(partitions).statistics.labels
        assert (found is not None) == counted


@pytest.mark.parametrize("density", [0.0, 0.1, 0.5, 1.0])
def test_settling_and_concatenating_change_no_number(density: float) -> None:
    rows = random_rows(density=density)
    for each in (rows, rows.sparse):
        block = settle(block_of(each))
        assert isinstance(block.features, np.ndarray) == (density > 0.2)
        parts = [block[part] for part in np.array_split(np.arange(200), 3)]
        whole = concatenate(parts)
        np.testing.assert_array_equal(Rows(whole.features, whole.label).dense, rows.features)
        for name in ("label", "weight", "offset", "fold"):
            np.testing.assert_array_equal(getattr(whole, name), getattr(rows, name))
        pieces = list(block.chunks(500))
        assert len(pieces) > 1
        np.testing.assert_array_equal(np.concatenate([piece.label for piece in pieces]), rows.label)


CLASS_WEIGHTS = [{}, {1.0: 5.0}, {0.0: 0.25, 1.0: 3.0}, {0.0: 0.0, 1.0: 2.0}]


@pytest.mark.parametrize("partitions", [1, 20])
@pytest.mark.parametrize("fold", [-1, 0, 2, 9])
@pytest.mark.parametrize("class_weights", CLASS_WEIGHTS)
@pytest.mark.parametrize("sparse", [False, True], ids=["dense", "sparse"])
def test_statistics_of_other_folds_and_weights_are_those_of_such_rows(
    partitions: int, fold: int, class_weights: dict[float, float], sparse: bool
) -> None:
    label = np.random.default_rng(3).integers(0, 2, 200).astype(float)
    rows = replace(random_rows(), label=label)
    kept = np.flatnonzero(rows.fold != fold)
    factors = np.array([class_weights.get(y, 1.0) for y in label])
    expected = replace(rows, weight=rows.weights * factors).take(kept)
    data = (rows.sparse if sparse else rows).local(partitions)
    found = data.statistics_for(fold, class_weights)
    check(found, expected)
    assert found.labels is not None
    for value, (count, weight) in found.labels.items():
        assert count == np.sum(expected.label == value)
        assert weight == pytest.approx(expected.weights[expected.label == value].sum(), rel=1e-12)
    inside = data.cells.inside(fold).total
    assert data.cells.outside(fold).total.merge(inside).count == 200
    assert inside.weight == pytest.approx(rows.weights[rows.fold == fold].sum(), rel=1e-12)
    assert data.passes == 0


@pytest.mark.parametrize(
    ("folds", "labels", "wide", "kept"),
    [
        (1, 2, False, "fold and label"),
        (MAX_CELLS // 2, 2, False, "fold and label"),
        (MAX_CELLS // 2 + 1, 2, False, "fold"),
        (MAX_CELLS, 500, False, "fold"),
        (MAX_CELLS + 1, 2, False, "nothing"),
        (1, MAX_CELLS, False, "fold and label"),
        (1, MAX_CELLS + 1, False, "fold"),
        (1, 1, True, "fold and label"),
        (1, 2, True, "fold"),
        (2, 1, True, "nothing"),
        (2, 2, True, "nothing"),
    ],
)
def test_what_is_kept_apart_follows_from_the_rows_however_they_are_cut(
    folds: int, labels: int, wide: bool, kept: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if wide:
        monkeypatch.setattr(cells, "MAX_NUMBERS", 1)
    n = 2 * folds * labels
    fold, label = np.arange(n) % folds, np.arange(n) // folds % labels * 1.0
    rows = Rows(np.random.default_rng(1).normal(size=(n, 1)), label, fold=fold.astype(np.int32))
    shuffled = rows.take(np.random.default_rng(0).permutation(n))
    expected = {
        "fold and label": set(zip(fold.tolist(), label.tolist(), strict=True)),
        "fold": {(k, None) for k in range(folds)},
        "nothing": {(None, None)},
    }[kept]
    for each, partitions in ((rows, 1), (rows, 5), (shuffled, 2)):
        data = each.local(partitions)
        assert set(data.cells.parts) == expected
        assert data.statistics.count == n
        for left_out, class_weights, takes_a_pass in (
            (-1, {0.0: 2.0}, kept != "fold and label"),
            (1, {}, kept == "nothing"),
            (1, {0.0: 2.0, 1.0: 0.5}, kept != "fold and label"),
        ):
            outside = each.take(np.flatnonzero(each.fold != left_out))
            factors = np.array([class_weights.get(y, 1.0) for y in outside.label])
            before = data.passes
            if outside.label.size:
                check(data.statistics_for(left_out, class_weights), replace(outside, weight=factors))
                data.statistics_for(left_out, class_weights)
                assert data.passes == before + takes_a_pass
