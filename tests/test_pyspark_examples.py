"""The examples in the docstrings of pyspark.ml hold with our classes in the place of theirs."""

import doctest
import importlib
from pathlib import Path

import pyspark
import pytest
from pyspark.sql import SparkSession

DATA = Path(pyspark.__file__).parent / "data"  # which the examples name by a relative path
MODULES = {
    "GeneralizedLinearRegression": "regression",
    "LinearRegression": "regression",
    "LinearSVC": "classification",
    "LogisticRegression": "classification",
}

# What ours say otherwise, on purpose: `evaluate` of pyspark.ml does not see a threshold that was set after the fit.
# Where a solver is after the five iterations that the example of LinearSVC allows is its own affair.
OTHERWISE = {
    "LinearSVC": {
        "model.coefficients\n": "DenseVector([0.0, -..., -...])\n",
        "model.intercept\n": "...\n",
        "model.predictRaw(test0.head().features)\n": "DenseVector([-..., ...])\n",
        "result.rawPrediction\n": "DenseVector([-..., ...])\n",
    },
    "LogisticRegression": {
        "blorModel.evaluate(bdf).accuracy == blorModel.summary.accuracy\n": "False\n",
    },
}


@pytest.mark.extras
@pytest.mark.filterwarnings("ignore::sparkdml.errors.ConvergenceWarning")
@pytest.mark.parametrize("name", MODULES)
def test_the_examples_of_pyspark_hold(name: str, spark: SparkSession, tmp_path: Path) -> None:
    theirs, ours = (importlib.import_module(f"{package}.{MODULES[name]}") for package in ("pyspark.ml", "sparkdml"))
    names = {**vars(theirs), **{each: getattr(ours, each) for each in ours.__all__}}
    names |= {"spark": spark, "sc": spark.sparkContext, "temp_path": str(tmp_path)}
    text = getattr(theirs, name).__doc__.replace('"data/', f'"{DATA}/')
    test = doctest.DocTestParser().get_doctest(text, names, name, theirs.__file__, 0)
    assert test.examples
    for example in test.examples:
        example.want = OTHERWISE.get(name, {}).get(example.source, example.want)
    assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed == 0
