"""Which run is this? The same configuration, input and code are the same run, which is not done twice."""

import hashlib
import json
import platform
import struct
from collections.abc import Mapping
from datetime import UTC, date, datetime
from importlib.metadata import version
from typing import Any

from pyspark.sql import DataFrame

from sparkdml.jobkit.secrets import masked
from sparkdml.jobkit.session import package_sources
from sparkdml.model import LinearModel
from sparkdml.storage import Storage

KEY_DIGITS = 12


def run_key(configuration: Mapping[str, Any], inputs: Any, logical_date: date | None) -> str:
    """SHA-256 of what decides the result, in hexadecimal; its first 12 digits name versions.

    Parameters
    ----------
    configuration : mapping
        Every option with its resolved value, less those that say where to write and how to log. JSON types.
    inputs : JSON value
        The fingerprint of the input, of `input_fingerprint`.
    logical_date : date, optional
        The day the run stands for.

    Examples
    --------
    >>> a = run_key({"regParam": 0.1, "solver": "auto"}, [], None)
    >>> a == run_key({"solver": "auto", "regParam": 0.1}, [], None), a == run_key({"regParam": 0.2}, [], None)
    (True, False)
    """
    decisive = {
        "configuration": dict(configuration),
        "inputs": inputs,
        "code": code_digest(),
        "logical_date": logical_date.isoformat() if logical_date else None,
    }
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()


def code_digest() -> str:
    """SHA-256 over the sources of this package; a version number would miss the edits of a checkout."""
    digest = hashlib.sha256()
    for name, content in package_sources():
        digest.update(f"{name} {len(content)}\n".encode() + content)
    return digest.hexdigest()


def model_digest(model: LinearModel) -> str:
    """SHA-256 of the features' names, the coefficients and the intercept of a model, in hexadecimal."""
    digest = hashlib.sha256(json.dumps(model.featureNames).encode())
    digest.update(model.coefficients.toArray().tobytes() + struct.pack("<d", model.intercept))
    return digest.hexdigest()


def input_fingerprint(storage: Storage, table: DataFrame) -> list[dict[str, Any]]:
    """Path, length and modification time of each file that `table` reads, in the order of the paths; no secrets."""
    return [masked(storage.fingerprint(uri)) for uri in sorted(table.inputFiles())]


def version_name(key: str, started: datetime, logical_date: date | None) -> str:
    """Name of a version: ``<logical date or UTC start>-<first 12 digits of the run key>``.

    >>> version_name("0123456789abcdef", datetime(2026, 11, 21, 4, 5, 6, tzinfo=UTC), None)
    '20261121T040506Z-0123456789ab'
    """
    when = logical_date.isoformat() if logical_date else started.strftime("%Y%m%dT%H%M%SZ")
    return f"{when}-{key[:KEY_DIGITS]}"


def utc_now() -> datetime:
    """The time a run starts: for its name and its record, never for what it computes."""
    return datetime.now(UTC)


def versions() -> dict[str, str]:
    """Versions of Python and of the libraries that take part in the numbers."""
    libraries = ("pyspark", "numpy", "scipy", "pyarrow", "pandas")
    return {"python": platform.python_version(), **{name: version(name) for name in libraries}}
