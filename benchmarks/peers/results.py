"""The results of earlier runs, in a file with a schema: a run adds to it, and never loses what it cannot read."""

import json
import os
from collections.abc import Mapping
from itertools import chain, count
from pathlib import Path
from typing import Any

SCHEMA = 2  # 1, which files did not state, had no fits of ours beside those of each contestant
FILE = "results.json"
OF_A_RESULT = {"shape", "best", "fits", "machine"}
OF_TIMES = {"ready": {"ready_ours", "gap", "target"}, "from_files": {"from_files_ours", "gap", "target"}}

Result = dict[str, Any]


class SchemaError(ValueError):
    """A file of results cannot be read: it is of another schema, or damaged. `aside` is where it is to be kept."""

    def __init__(self, file: Path, schema: object) -> None:
        self.file, self.aside = file, _free(file.with_suffix(f".schema-{schema}.json"))
        super().__init__(
            f"{file} has the schema {schema}, and this benchmark reads {SCHEMA}: its results are not in the report. "
            f"They are kept in {self.aside.name} once there are new ones."
        )


def read_results(directory: Path) -> list[Result]:
    """Return the results of earlier runs; raises SchemaError where there are some that cannot be read."""
    file = directory / FILE
    if not file.exists():
        return []
    try:
        content = json.loads(file.read_text())
        schema, results = content.get("schema", 1), content["results"]
        complete = schema == SCHEMA and all(map(_is_complete, results))
    except (AttributeError, KeyError, TypeError, ValueError):
        schema, complete = "unknown", False
    if not complete:
        raise SchemaError(file, "unknown" if schema == SCHEMA else schema)
    return results


def merged(known: list[Result], result: Result) -> list[Result]:
    """Return the known results with one more, or with it in place of that of the same shape.

    Contestants that this run of the shape left out stay: with each fit are those of ours from its own run, and the
    processor that both had.
    """
    by_name = {each["shape"]["name"]: each for each in known}
    before = by_name.get(result["shape"]["name"])
    if before and before["shape"] == json.loads(json.dumps(result["shape"])):  # the file has lists for tuples
        result = result | {"fits": before["fits"] | result["fits"]}
    return list((by_name | {result["shape"]["name"]: result}).values())


def write_results(directory: Path, results: list[Result], shown: Mapping[str, bytes]) -> None:
    """Replace the results, and by their names the files that show them, each in one step.

    A file of results that cannot be read is kept under another name.
    """
    directory.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"schema": SCHEMA, "results": results}, indent=1) + "\n"
    files = {**shown, FILE: content.encode()}
    for name, each in files.items():
        (directory / f".{name}.new").write_bytes(each)
    try:
        read_results(directory)
    except SchemaError as other:
        os.replace(other.file, other.aside)
    for name in files:
        os.replace(directory / f".{name}.new", directory / name)


def _is_complete(result: Result) -> bool:
    """Whether a result has all that the report shows."""
    fields = result.keys() >= OF_A_RESULT and "processor" in result["machine"]
    return fields and all(
        fit.keys() >= {"processor"}.union(*(more for kind, more in OF_TIMES.items() if kind in fit))
        for fit in result["fits"].values()
    )


def _free(path: Path) -> Path:
    """The path, or one with a number before its suffix where it is taken."""
    numbered = (path.with_suffix(f".{number}.json") for number in count(2))
    return next(each for each in chain([path], numbered) if not each.exists())
