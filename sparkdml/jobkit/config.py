"""Where the options of a job come from: flags, then ``SPARKDML_*``, then ``--config file.toml``, then defaults.

Every source is turned into flags and read by the job's one parser, so a value is checked in one way wherever it
stands. ``--reg-param 0.1``, ``SPARKDML_REG_PARAM=0.1`` and ``reg-param = 0.1`` in the file say the same.
"""

import argparse
import difflib
import json
import os
import shlex
import sys
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from sparkdml.jobkit.failures import ConfigError, UsageError

PREFIX = "SPARKDML_"
_WORDS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
# What is said to this call of the program and makes no sense anywhere else.
_FLAGS_ONLY = ("help", "print_config")


def resolve(
    parser: argparse.ArgumentParser, argv: Sequence[str] | None, environ: Mapping[str, str] = os.environ
) -> tuple[argparse.Namespace, dict[str, str]]:
    """All options, and for each the source of its value: ``flag``, an environment variable, a file, or ``default``.

    Raises
    ------
    UsageError
        A flag is wrong, or a required one is nowhere.
    ConfigError
        A key of the environment or the file is unknown, or its value is; the file cannot be read.
    """
    argv = sys.argv[1:] if argv is None else argv
    if {"-h", "--help"} & set(argv):
        parser.parse_args(["--help"])  # now, while the parser still knows what is required
    flags = _given(parser, argv)
    environment = _read_environment(parser, environ)
    path = flags.get("config", environment.get("config"))
    variables = {action.dest: _variable(action) for action in _options(parser) if action.dest in environment}
    layers = [(dict.fromkeys(flags, "flag"), flags), (variables, environment)]
    if path is not None:
        file = _read_file(parser, path)
        layers.append((dict.fromkeys(file, path), file))
    options = {each.dest: each.default for each in parser._actions if each.default is not argparse.SUPPRESS}
    sources = dict.fromkeys(options, "default")
    for origin, layer in reversed(layers):
        for rival in _rivals(parser, layer):  # --features in the file gives way to --features-col on the command line
            options[rival], sources[rival] = None, "default"
        options |= layer
        sources |= origin
    for action in _options(parser):
        if action.required and options.get(action.dest) is None:
            raise UsageError(f"{action.option_strings[0]} is required (see --help)")
    return argparse.Namespace(**options), sources


def key_of(action: argparse.Action) -> str:
    """The name of an option in files, and upper-case in the environment: its flag without the dashes."""
    return action.option_strings[-1 if action.option_strings[0].count("-") == 1 else 0].lstrip("-")


def _options(parser: argparse.ArgumentParser) -> list[argparse.Action]:
    return [action for action in parser._actions if action.dest not in _FLAGS_ONLY]


def _given(parser: argparse.ArgumentParser, argv: Sequence[str]) -> dict[str, Any]:
    """What the flags say and nothing else: no defaults, and none is required."""
    with _without_defaults(parser):
        return vars(parser.parse_args(argv))


@contextmanager
def _without_defaults(parser: argparse.ArgumentParser) -> Iterator[None]:
    kept = [(action, action.default, action.required) for action in parser._actions]
    for action, _, _ in kept:
        action.default, action.required = argparse.SUPPRESS, False
    try:
        yield
    finally:
        for action, default, required in kept:
            action.default, action.required = default, required


def _rivals(parser: argparse.ArgumentParser, layer: Mapping[str, Any]) -> Iterator[str]:
    """The options that are mutually exclusive with those of a layer."""
    for group in parser._mutually_exclusive_groups:
        members = {action.dest for action in group._group_actions}
        if members & set(layer):
            yield from members - set(layer)


def _variable(action: argparse.Action) -> str:
    return PREFIX + key_of(action).replace("-", "_").upper()


def _read_environment(parser: argparse.ArgumentParser, environ: Mapping[str, str]) -> dict[str, Any]:
    known = {_variable(action): action for action in _options(parser)}
    tokens = []
    for name in sorted(name for name in environ if name.startswith(PREFIX)):
        if name not in known:
            raise ConfigError(f"the environment variable {name} is no option of this job: {_nearest(name, known)}")
        tokens.append((name, _tokens(known[name], _from_text(known[name], environ[name]), name)))
    return _layer(parser, tokens)


def _read_file(parser: argparse.ArgumentParser, path: str) -> dict[str, Any]:
    try:
        with open(path, "rb") as file:
            content = tomllib.load(file)
    except OSError as problem:
        raise ConfigError(f"--config {path} cannot be read: {problem.strerror}.") from problem
    except ValueError as problem:
        raise ConfigError(f"--config {path} is not TOML: {problem}.") from problem
    except RecursionError as problem:
        raise ConfigError(f"--config {path} is nested too deeply: options stand at the top, a line each.") from problem
    known = {key_of(action): action for action in _options(parser) if action.dest != "config"}
    tokens = []
    for key, value in content.items():
        action = known.get(key.replace("_", "-"))
        if action is None:
            raise ConfigError(f"{path}: {key!r} is no option of this job: {_nearest(key, known)}")
        tokens.append((f"{path}: {key}", _tokens(action, value, f"{path}: {key}")))
    return _layer(parser, tokens)


def _layer(parser: argparse.ArgumentParser, tokens: Sequence[tuple[str, list[str]]]) -> dict[str, Any]:
    """The options of a source. Each is read alone, so that an error can say where it stands."""
    options: dict[str, Any] = {}
    for place, words in tokens:
        try:
            options |= _given(parser, words)
        except UsageError as problem:
            raise ConfigError(f"{place}: {problem}") from problem
    try:
        _given(parser, [word for _, words in tokens for word in words])
    except UsageError as problem:  # of two options that exclude each other
        raise ConfigError(f"{tokens[0][0].partition(':')[0]}: {problem}") from problem
    return options


def _from_text(action: argparse.Action, text: str) -> Any:
    """The value of an environment variable, as a TOML file would have it."""
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        return _WORDS.get(text.lower(), text)
    if action.nargs == "+":
        return shlex.split(text)
    return text


def _tokens(action: argparse.Action, value: Any, place: str) -> list[str]:
    """The flag that says what a key and its value say; none for a switch that is off."""
    flag = action.option_strings[0]
    if action.nargs == 0 or isinstance(action, argparse.BooleanOptionalAction):
        if not isinstance(value, bool):
            raise ConfigError(f"{place} must be true or false, not {value!r}.")
        if isinstance(action, argparse.BooleanOptionalAction):
            return [flag if value else f"--no-{flag.removeprefix('--')}"]
        return [flag] if value else []
    if isinstance(value, dict):
        raise ConfigError(f"{place} is a table, but options stand at the top of the file.")
    if not isinstance(value, list):
        return [f"{flag}={_text(value)}"] if action.nargs is None else [flag, _text(value)]
    if any(isinstance(each, list) for each in value):  # a matrix
        return [f"{flag}={json.dumps(value)}"]
    words = [_text(each) for each in value]
    return [f"{flag}={','.join(words)}"] if action.nargs is None else [flag, *words]


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _nearest(name: str, known: Mapping[str, Any]) -> str:
    near = difflib.get_close_matches(name, known, 1, 0.6)
    return f"did you mean {near[0]}?" if near else "--help lists them."
