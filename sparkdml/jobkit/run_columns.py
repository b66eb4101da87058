"""The columns that a training run computed by ``--with-column``, which a scoring job needs again.

run.json has their SQL. It is full SQL, which may call Java and read files, and it stands in a file: so it is shown, and
run only where ``--columns-from-run`` asks for it.
"""

import argparse
import shlex
from collections.abc import Sequence
from typing import Any

from pyspark.sql import DataFrame
from pyspark.sql.types import StructType

from sparkdml.errors import ColumnError, FormatError
from sparkdml.files import Files
from sparkdml.jobkit.failures import UsageError
from sparkdml.jobkit.models import SavedModel
from sparkdml.jobkit.progress import log
from sparkdml.jobkit.tables import with_columns
from sparkdml.saved import SMALL, parse
from sparkdml.storage import Storage
from sparkdml.text import printable

RUN = "run.json"
Columns = list[tuple[str, str]]


def run_columns(storage: Storage, saved: SavedModel) -> Columns | None:
    """Name and SQL of the columns that the run of a published model computed, in order; None without a run.json.

    Raises FormatError where run.json is not what a training job writes.
    """
    if saved.version is None:
        return None
    files: Files = storage.below(saved.path.rpartition("/")[0])
    if files.size(RUN) is None:
        return None
    where = f"{files.root}/{RUN}"
    run = parse(files.read(RUN, SMALL), where)
    configuration = run.get("configuration") if isinstance(run, dict) else None
    found = configuration.get("with_column") if isinstance(configuration, dict) else None
    if found is None:
        return []
    if not (isinstance(found, list) and all(map(_is_pair, found))):
        raise FormatError(f"{where} does not tell the columns of the run: with_column is no list of names and SQL.")
    return [(name, sql) for name, sql in found]


def _is_pair(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value)


def add_run_columns(table: DataFrame, found: Columns | None, without: Sequence[str], path: str) -> DataFrame:
    """The table with the columns of the run; those of `without`, such as the label, are not needed."""
    if found is None:
        raise UsageError(f"--columns-from-run: {path} has no {RUN}, since no training job published it.")
    return with_columns(table, [(name, sql) for name, sql in found if name not in without], "--columns-from-run: ")


def check_run_columns(
    found: Columns | None,
    schema: StructType,
    needed: Sequence[str],
    without: Sequence[str],
    options: argparse.Namespace,
) -> None:
    """Refuse a table that lacks needed columns which the run computed, with the flag that computes them again.

    A column of the table that the run computed anew from it, such as ``price=ln(price)``, is told in a warning: nobody
    can see whether it is that one.
    """
    if options.columns_from_run or not found:
        return
    given = {name for name, _ in options.with_column or ()}
    made = [name for name, _ in found if name in needed and name not in given]
    if lacking := [name for name in made if name not in schema.names]:
        last = max(i for i, (name, _) in enumerate(found) if name in lacking)
        shown = [f"{name}={sql}" for name, sql in found[: last + 1] if name not in without and name not in given]
        raise ColumnError(
            f"there is no column {', '.join(map(repr, lacking))}, which the training run computed by "
            f"--with-column {' '.join(shlex.quote(printable(each)) for each in shown)}: pass that flag, or "
            "--columns-from-run, which takes the columns from run.json. They are SQL from the model's directory, which "
            "can call Java and read files: read it before you run it."
        )
    if taken := [name for name in made if name in schema.names]:
        log.warning(
            "the training run computed %s by --with-column; the column of this table is taken as it is.",
            ", ".join(map(repr, taken)),
        )
