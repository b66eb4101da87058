"""Synthetic tables of any size with a known truth, made in parallel by Spark from a recipe and a seed.

Each partition makes its own rows, a batch at a time, from random numbers keyed by (seed, partition, batch). So the
rows are a function of the recipe alone: not of the machine, the number of cores, or how often a task was retried.
(Between versions of NumPy the stream of a generator may change.)
"""

from sparkdml.datasets.recipe import LABEL, Recipe, partition_rows
from sparkdml.datasets.signal import Truth, truth
from sparkdml.datasets.table import make_table

__all__ = ["LABEL", "Recipe", "Truth", "make_table", "partition_rows", "truth"]
