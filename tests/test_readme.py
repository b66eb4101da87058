"""What the README says, works: every command and every piece of Python in it is run."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pyspark.sql import SparkSession

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text()
WALK = README.partition("## A walk")[2].partition("\n## ")[0]


def commands(text: str) -> list[list[str]]:
    """The words of each spark-submit command in an indented block."""
    joined = text.replace("\\\n", " ")
    return [
        shlex.split(line, comments=True)[1:] for line in re.findall(r"^ {4,}(spark-submit .*)$", joined, re.MULTILINE)
    ]


def snippets(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_walk_can_be_walked(
    run: Callable[..., Any], spark: SparkSession, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    walk = commands(WALK)
    jobs = [Path(words[0]).stem for words in walk]
    assert jobs == ["make_data", "train_linreg", "train_linreg", "predict", "evaluate"]
    for job, words in zip(jobs, walk, strict=True):
        small = [word.replace("walk/", f"{tmp_path}/").replace("200000", "4000") for word in words[1:]]
        ended = run(job, *small)
        assert ended.code == 0, ended.err
    assert ended.result["metrics"]["rmse"] == pytest.approx(0.5, rel=0.1)
    (code,) = snippets(WALK)
    exec(code.replace("walk/", f"{tmp_path}/"), {})
    lines = [line.split() for line in capsys.readouterr().out.splitlines() if " true " in line]
    assert len(lines) == 8
    assert all(abs(float(true) - float(found)) < 0.1 for _, _, true, _, found in lines)


@pytest.mark.parametrize("code", [code for code in snippets(README) if code not in snippets(WALK)])
def test_the_python_of_the_readme_runs(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, code: str
) -> None:
    monkeypatch.chdir(ROOT)
    exec(code.replace('"data/', f'"{ROOT}/data/').replace('"models/', f'"{tmp_path}/'), {})


def test_the_commands_of_the_page_on_jobs_end_as_it_says(run: Callable[..., Any], tmp_path: Path) -> None:
    page = (ROOT / "docs" / "jobs.md").read_text()
    ends = [
        int(found or 0) for found in re.findall(r"^ {4,}spark-submit .*?(?:# ends with (\d+))?$", page, re.MULTILINE)
    ]
    assert len(ends) > 8
    for words, code in zip(commands(page), ends, strict=True):
        ended = run(Path(words[0]).stem, *[word.replace("week/", f"{tmp_path}/") for word in words[1:]])
        assert ended.code == code, (words, ended.result)
    assert (tmp_path / "model" / "LATEST").read_text().startswith("2026-11-02-")


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.stem)
def test_the_python_of_the_docs_runs(
    spark: SparkSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, page: Path
) -> None:
    monkeypatch.chdir(ROOT)
    for code in snippets(page.read_text()):
        exec(code.replace('"models/', f'"{tmp_path}/'), {})


def test_every_command_of_the_readme_is_one_of_the_jobs() -> None:
    named = set(re.findall(r"jobs/(\w+)\.py", README))
    assert named <= {path.stem for path in (ROOT / "jobs").glob("*.py")}
