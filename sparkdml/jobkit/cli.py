"""The command line of a job: flags from an estimator's Params, exit codes, the result as a line of JSON."""

import argparse
import difflib
import json
import math
import re
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn

from pyspark.ml.param import Param, Params, TypeConverters

from sparkdml.errors import SparkdmlError
from sparkdml.jobkit.config import key_of, resolve
from sparkdml.jobkit.failures import BUG, Terminated, UsageError, exit_code, sentence
from sparkdml.jobkit.progress import LOG_FORMATS, job_logging, log, say, set_format
from sparkdml.jobkit.secrets import hidden, hidden_result, learn, masked, masked_options
from sparkdml.jobkit.signals import early_end
from sparkdml.text import align, printable


class JobParser(argparse.ArgumentParser):
    """An ArgumentParser that raises UsageError instead of leaving the process, and takes no abbreviations.

    `params` has the defaults of an estimator's Params, which are no defaults of the parser: what is not given as an
    option is left to the estimator.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)
        self.params: dict[str, Any] = {}

    def error(self, message: str) -> NoReturn:
        """Called by argparse for each wrong command line; a flag that is unknown is told with the nearest one."""
        unknown = re.findall(r"--[\w-]+", message.partition("unrecognized arguments: ")[2])
        near = [each for flag in unknown if (each := self._nearest(flag))]
        hint = f": did you mean {' and '.join(near)}?" if near else ""
        raise UsageError(f"{message}{hint} (see --help)")

    def _nearest(self, flag: str) -> str | None:
        known = [each for action in self._actions for each in action.option_strings]
        return next(iter(difflib.get_close_matches(flag, known, 1, 0.6)), None)


def add_running_flags(parser: JobParser) -> None:
    """The flags that every job has. `run_job` reads them, but for ``--dry-run``, which the job itself heeds."""
    running = parser.add_argument_group("running")
    running.add_argument(
        "--config",
        type=given_path,
        metavar="FILE",
        help="options as a TOML file, a line each: reg-param = 0.1. Flags come before environment variables "
        "(SPARKDML_REG_PARAM=0.1), these before the file, the file before the defaults",
    )
    running.add_argument("--print-config", action="store_true", help="show each option and its source, and do nothing")
    running.add_argument(
        "--dry-run", action="store_true", help="check the options, read the schema, write nothing (default: off)"
    )
    running.add_argument(
        "--log-format",
        choices=LOG_FORMATS,
        default="auto",
        help="lines for a person, JSON lines in pyspark's SPARK_LOG_SCHEMA, or the one on a terminal and the other "
        "elsewhere (default: auto)",
    )


def run_job(parser: JobParser, job: Callable[[argparse.Namespace], dict[str, Any]], argv: Sequence[str] | None) -> int:
    """Resolve the options, call `job`, print what it returns as the last line of stdout, return the exit code.

    A failure prints ``{"status": "failed", "code": .., "error": ..}`` instead, and logs the same sentence. Only
    a bug (code 70) is logged with its traceback.
    """
    with job_logging() as handler:
        try:
            learn([])
            options, sources = resolve(parser, argv)
            learn(getattr(options, "read_option", None) or [])
            set_format(handler, options.log_format)
            with early_end():
                result, code = _print_config(parser, options, sources) if options.print_config else job(options), 0
        except (Exception, KeyboardInterrupt, Terminated) as failure:
            code = exit_code(failure)
            result = {"status": "failed", "code": code, "error": printable(hidden(sentence(failure)))}
            context = {"code": str(code), "class": type(failure).__name__}
            log.error("%s", result["error"], exc_info=code == BUG, extra={"context": context})
        print(json_line(hidden_result(finite(result))), flush=True)
    return code


def _print_config(parser: JobParser, options: argparse.Namespace, sources: dict[str, str]) -> dict[str, Any]:
    """Print every option, its value and where that came from."""
    rows = [["Option", "Value", "Source"]]
    values = {}
    for action in parser._actions:
        if action.dest in ("help", "print_config", "config"):
            continue
        value = getattr(options, action.dest, parser.params.get(action.dest))
        value = masked_options(value) if action.dest == "read_option" and value else masked(value)
        values[key_of(action)] = value
        rows.append([key_of(action), json.dumps(value, default=str), sources.get(action.dest, "default")])
    say(align(rows))
    return {"status": "config", "config": json.loads(json.dumps(finite(values), default=str))}


def add_params(parser: JobParser, estimator: Params, title: str, without: Collection[str]) -> None:
    """A flag for each Param of `estimator` but those in `without`: its name, doc, default and type.

    ``elasticNetParam`` becomes ``--elastic-net-param``; a boolean Param also gets its ``--no-`` form. A flag
    that is not given leaves no attribute in the parsed options.
    """
    group = parser.add_argument_group(title)
    for param in estimator.params:
        if param.name not in without:
            parser.params[param.name] = estimator.getOrDefault(param) if estimator.hasDefault(param) else None
            group.add_argument(
                f"--{_kebab(param.name)}",
                dest=param.name,
                default=argparse.SUPPRESS,
                help=_help(estimator, param),
                **_reader(param),
            )


def given_params(estimator: Params, options: argparse.Namespace) -> dict[str, Any]:
    """The Params that were given as flags, by name."""
    return {param.name: getattr(options, param.name) for param in estimator.params if hasattr(options, param.name)}


def names(text: str) -> list[str]:
    """The names in a comma-separated list, which may be empty.

    >>> names("age, bmi"), names("")
    (['age', 'bmi'], [])
    """
    if not text.strip():
        return []
    found = [name.strip() for name in text.split(",")]
    if not all(found):
        raise argparse.ArgumentTypeError(f"an empty name in {text!r}")
    return found


def given_path(text: str) -> str:
    """A path of a file or directory, which is not empty: the type of the flags that take one."""
    if not text.strip():
        raise argparse.ArgumentTypeError("the path is empty")
    return text


def json_line(value: dict[str, Any]) -> str:
    """One line of JSON; numbers that JSON does not have (NaN, infinity) become null.

    >>> json_line({"rmse": 1.5, "r2adj": float("nan")})
    '{"rmse": 1.5, "r2adj": null}'
    """
    return json.dumps(finite(value), allow_nan=False).replace("\x7f", "\\u007f")  # the control character JSON leaves


def finite(value: Any) -> Any:
    """The same JSON value with None for every number that is not finite."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _kebab(name: str) -> str:
    return re.sub(r"([a-z0-9])([A-Z])", r"\1-\2", name).lower()


def _help(estimator: Params, param: Param[Any]) -> str:
    doc = param.doc.rstrip(". ").replace("%", "%%")
    return f"{doc} (default: {estimator.getOrDefault(param)})" if estimator.hasDefault(param) else doc


def _reader(param: Param[Any]) -> dict[str, Any]:
    """How argparse reads a Param's value."""
    if param.typeConverter is TypeConverters.toBoolean:
        return {"action": argparse.BooleanOptionalAction}
    return {"type": partial(_value, param), "metavar": "VALUE"}


def _value(param: Param[Any], text: str) -> Any:
    """What a Param's own converter makes of a flag: of the text as JSON, with or without the brackets of a list, as it
    stands, or as a list of names.
    """
    readings: list[Any] = []
    for written in (text, f"[{text}]"):
        with suppress(ValueError):
            readings.append(json.loads(written))
    for reading in [*readings, text, text.split(",")]:
        with suppress(TypeError):
            return _converted(param, reading)
    raise argparse.ArgumentTypeError(f"{text!r} is not a value of {param.name}")


def _converted(param: Param[Any], value: Any) -> Any:
    try:
        return param.typeConverter(value)
    except SparkdmlError as refusal:  # argparse drops the message of any other exception
        raise argparse.ArgumentTypeError(str(refusal)) from refusal
