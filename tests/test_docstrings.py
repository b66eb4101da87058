"""The examples in the docstrings run and say what they show."""

import doctest
import importlib
import pkgutil
from types import ModuleType

import numpy as np
import pytest
from pyspark.sql import SparkSession

import sparkdml

MODULES = ["sparkdml", *(found.name for found in pkgutil.walk_packages(sparkdml.__path__, "sparkdml."))]


@pytest.mark.parametrize("name", MODULES)
def test_examples_run(name: str, spark: SparkSession) -> None:
    module: ModuleType = importlib.import_module(name)
    results = doctest.testmod(module, extraglobs={"spark": spark, "np": np})
    assert results.failed == 0


def test_there_are_examples() -> None:
    finder = doctest.DocTestFinder()
    found = [test for name in MODULES for test in finder.find(importlib.import_module(name)) if test.examples]
    assert len(found) > 10
