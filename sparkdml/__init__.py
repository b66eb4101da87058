"""sparkdml: linear models on Spark DataFrames by distributed gradient methods."""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# Names are looked up when they are used: a worker that only adds up gradients never loads the estimators.
_PUBLIC = {
    "pack": "sparkdml.engine.spark_data",
    "LocalData": "sparkdml.engine.data",
    "load_model": "sparkdml.array_model",
}
__all__ = ["LocalData", "__version__", "load_model", "pack"]


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'sparkdml' has no attribute {name!r}")


def __dir__() -> list[str]:
    """What there is, with what has not been used yet."""
    return sorted({*globals(), *_PUBLIC})
