"""Options come from flags, the environment, a file and defaults, in this order, and are read alike everywhere."""

import argparse
from datetime import date
from pathlib import Path

import numpy as np
import pytest

from sparkdml.classification import LogisticRegression
from sparkdml.jobkit.cli import JobParser, add_params, add_running_flags, names
from sparkdml.jobkit.config import resolve
from sparkdml.jobkit.failures import ConfigError, UsageError
from sparkdml.regression import LinearRegression


@pytest.fixture
def parser() -> JobParser:
    """One option of each kind that the jobs have."""
    parser = JobParser()
    parser.add_argument("--input", nargs="+", action="extend", required=True)
    parser.add_argument("--label", default="label")
    rivals = parser.add_mutually_exclusive_group()
    rivals.add_argument("--features", type=names)
    rivals.add_argument("--features-col")
    parser.add_argument("--overwrite", action="store_true")
    parser.add_argument("--logical-date", type=date.fromisoformat)
    add_params(parser, LinearRegression(), "Params", without=("featuresCol", "featuresCols", "labelCol"))
    add_running_flags(parser)
    return parser


def written(tmp_path: Path, text: str) -> str:
    path = tmp_path / "job.toml"
    path.write_text(text)
    return str(path)


SAYINGS = [  # flags, environment, file, option, value
    (["--reg-param", "0.1"], {"SPARKDML_REG_PARAM": "0.1"}, "reg-param = 0.1", "regParam", 0.1),
    (["--solver", "gd"], {"SPARKDML_SOLVER": "gd"}, "solver = 'gd'", "solver", "gd"),
    (["--no-fit-intercept"], {"SPARKDML_FIT_INTERCEPT": "false"}, "fit_intercept = false", "fitIntercept", False),
    (["--fit-intercept"], {"SPARKDML_FIT_INTERCEPT": "1"}, "fit-intercept = true", "fitIntercept", True),
    (["--overwrite"], {"SPARKDML_OVERWRITE": "yes"}, "overwrite = true", "overwrite", True),
    ([], {"SPARKDML_OVERWRITE": "0"}, "overwrite = false", "overwrite", False),
    (["--features", "a,b c"], {"SPARKDML_FEATURES": "a,b c"}, "features = ['a', 'b c']", "features", ["a", "b c"]),
    (["--input", "x", "y z"], {"SPARKDML_INPUT": "x 'y z'"}, "input = ['x', 'y z']", "input", ["x", "y z"]),
    (["--input", "x", "--input", "y"], {"SPARKDML_INPUT": "x y"}, "input = ['x', 'y']", "input", ["x", "y"]),
    (
        ["--logical-date", "2026-11-21"],
        {"SPARKDML_LOGICAL_DATE": "2026-11-21"},
        "logical-date = 2026-11-21",
        "logical_date",
        date(2026, 11, 21),
    ),
]


NUMBERS = [  # flags, environment, file, option, values
    (["--thresholds", "0.3,0.7"], {"SPARKDML_THRESHOLDS": "[0.3, 0.7]"}, "thresholds = [0.3, 0.7]", "thresholds"),
    (
        ["--lower-bounds-on-coefficients", "[0.3,0.7]"],
        {"SPARKDML_LOWER_BOUNDS_ON_COEFFICIENTS": "0.3,0.7"},
        "lower-bounds-on-coefficients = [0.3, 0.7]",
        "lowerBoundsOnCoefficients",
    ),
    (
        ["--upper-bounds-on-coefficients", "[0.3,0.7],[Infinity,1]"],
        {"SPARKDML_UPPER_BOUNDS_ON_COEFFICIENTS": "[[0.3, 0.7], [Infinity, 1]]"},
        "upper-bounds-on-coefficients = [[0.3, 0.7], [inf, 1]]",
        "upperBoundsOnCoefficients",
    ),
]


@pytest.mark.parametrize(("flags", "environ", "text", "option"), NUMBERS, ids=lambda each: str(each)[:30])
def test_several_numbers_are_said_alike_with_and_without_brackets(
    tmp_path: Path, flags: list, environ: dict, text: str, option: str
) -> None:
    parser = JobParser()
    add_params(parser, LogisticRegression(), "Params", without=())
    add_running_flags(parser)
    for argv, variables in ((flags, {}), ([], environ), (["--config", written(tmp_path, text)], {})):
        found = getattr(resolve(parser, argv, variables)[0], option)
        numbers = np.ravel(found.toArray() if hasattr(found, "toArray") else found).tolist()
        assert numbers == [0.3, 0.7, np.inf, 1.0][: 4 if "upper" in option else 2]


@pytest.mark.parametrize(("flags", "environ", "text", "option", "value"), SAYINGS, ids=lambda each: str(each)[:30])
def test_a_flag_a_variable_and_a_line_say_the_same(
    parser: JobParser, tmp_path: Path, flags: list, environ: dict, text: str, option: str, value: object
) -> None:
    needed = [] if option == "input" else ["--input", "i"]
    by_flag, _ = resolve(parser, [*needed, *flags], {})
    by_variable, _ = resolve(parser, needed, environ)
    by_file, _ = resolve(parser, [*needed, "--config", written(tmp_path, text)], {})
    for options in (by_flag, by_variable, by_file):
        assert getattr(options, option) == value


def test_flags_come_before_the_environment_before_the_file_before_the_defaults(
    parser: JobParser, tmp_path: Path
) -> None:
    path = written(tmp_path, "input = 'file'\nlabel = 'file'\nreg-param = 3.0\nsolver = 'gd'\n")
    environ = {"SPARKDML_LABEL": "environment", "SPARKDML_REG_PARAM": "2.0", "UNRELATED": "x"}
    options, sources = resolve(parser, ["--label", "label", "--config", path], environ)
    assert (options.label, options.regParam, options.solver, options.input) == ("label", 2.0, "gd", ["file"])
    assert not hasattr(options, "maxIter")
    told = {name: sources[name] for name in ("label", "regParam", "solver", "overwrite")}
    assert told == {"label": "flag", "regParam": "SPARKDML_REG_PARAM", "solver": path, "overwrite": "default"}


def test_the_file_may_be_named_by_the_environment(parser: JobParser, tmp_path: Path) -> None:
    options, _ = resolve(parser, [], {"SPARKDML_CONFIG": written(tmp_path, "input = 'x'")})
    assert options.input == ["x"]


def test_what_excludes_another_option_replaces_it_when_it_comes_first(parser: JobParser, tmp_path: Path) -> None:
    path = written(tmp_path, "input = 'x'\nfeatures = ['a', 'b']")
    options, _ = resolve(parser, ["--features-col", "v", "--config", path], {})
    assert (options.features_col, options.features) == ("v", None)


def test_the_parser_is_as_before(parser: JobParser) -> None:
    def look() -> list[tuple[object, bool]]:
        return [(action.default, action.required) for action in parser._actions]

    before = look()
    resolve(parser, ["--input", "x"], {})
    with pytest.raises(UsageError):
        resolve(parser, ["--nonsense"], {})
    assert look() == before


@pytest.mark.parametrize(
    ("environ", "text", "told"),
    [
        ({}, "reg-parm = 0.1", "'reg-parm' is no option of this job: did you mean reg-param?"),
        ({}, "zzzz = 0.1", "'zzzz' is no option of this job: --help lists them."),
        ({}, "reg-param = 'much'", "reg-param: argument --reg-param: 'much' is not a value"),
        ({}, "reg-param = -1", "regParam=-1"),
        ({}, "overwrite = 'perhaps'", "overwrite must be true or false, not 'perhaps'"),
        ({}, "fit-intercept = 1", "must be true or false"),
        ({}, "[solver]\nname = 'gd'", "options stand at the top"),
        ({}, "label = ", "is not TOML"),
        ({}, "features = ['a']\nfeatures-col = 'v'", "not allowed with"),
        ({}, "print-config = true", "is no option of this job"),
        ({}, "config = 'other.toml'", "is no option of this job"),
        ({"SPARKDML_REG_PARM": "1"}, "", "SPARKDML_REG_PARM is no option of this job: did you mean SPARKDML_REG_PARAM"),
        ({"SPARKDML_MAX_ITER": "-3"}, "", "SPARKDML_MAX_ITER: "),
        ({"SPARKDML_OVERWRITE": "perhaps"}, "", "SPARKDML_OVERWRITE must be true or false"),
    ],
)
def test_a_wrong_key_or_value_says_where_it_stands(
    parser: JobParser, tmp_path: Path, environ: dict, text: str, told: str
) -> None:
    with pytest.raises(ConfigError) as refusal:
        resolve(parser, ["--input", "x", "--config", written(tmp_path, text)], environ)
    assert told in str(refusal.value)


def test_a_file_that_is_not_there_is_told(parser: JobParser) -> None:
    with pytest.raises(ConfigError, match=r"--config nowhere\.toml cannot be read: No such file"):
        resolve(parser, ["--config", "nowhere.toml"], {})


def test_what_is_required_may_come_from_anywhere_but_must_come(parser: JobParser) -> None:
    assert resolve(parser, [], {"SPARKDML_INPUT": "x"})[0].input == ["x"]
    with pytest.raises(UsageError, match="--input is required"):
        resolve(parser, [], {})


def test_help_still_helps(parser: JobParser, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        resolve(parser, ["--help"], {})
    text = capsys.readouterr().out
    assert "--config FILE" in text
    assert "[--input" not in text  # it is required


def test_a_namespace_is_what_a_plain_parser_gives(parser: JobParser) -> None:
    argv = ["--input", "a", "b", "--features", "x,y", "--tol", "1e-9", "--no-standardization"]
    assert resolve(parser, argv, {})[0] == argparse.Namespace(**vars(parser.parse_args(argv)))
