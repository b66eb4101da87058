"""What must not be read in logs, records and results: the secrets that a command line and its environment hold.

A secret is known by the name that it is given: as an option of a reader, in the query of a URL, before the host of one,
or as an environment variable. What a job has learned so is masked wherever it stands, as in what Spark says of a URL.
"""

import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any

MASK = "***"
_WORDS = (
    "passw(?:or)?d|passphrase|pwd|secret|token|credential|signature|"
    "(?:access|account|api|private|encryption|shared)[._-]?key"
)
_NAME = re.compile(rf".*(?:{_WORDS}).*|(?:.*[^a-z])?(?:sas|sig)", re.IGNORECASE)
_USER = re.compile(r"([a-z][a-z0-9+.-]*://[^/\s:@'\"]*):[^/\s@'\"]+@", re.IGNORECASE)
_QUERY = re.compile(rf"([?&;][\w.-]*(?:{_WORDS})[\w.-]*|[?&;]si?g)=[^&;\s'\"]+", re.IGNORECASE)
_ANYWHERE = re.compile(rf"(\b[\w.-]*(?:{_WORDS})[\w.-]*)=[^&;,\s'\"]+", re.IGNORECASE)
_DIRECTORIES = ("PWD", "OLDPWD")  # environment variables that are called like passwords
_SHORTEST = 4  # what is shorter also stands in other words
_known: set[str] = set()


def is_secret(name: str) -> bool:
    """Whether a value of this name is a secret.

    >>> [name for name in ("sep", "password", "fs.s3a.secret.key", "dbtable", "AWS_SESSION_TOKEN") if is_secret(name)]
    ['password', 'fs.s3a.secret.key', 'AWS_SESSION_TOKEN']
    """
    return _NAME.fullmatch(name) is not None


def learn(read_options: Iterable[tuple[str, str]], environ: Mapping[str, str] = os.environ) -> None:
    """Remember the secrets among the options of a reader and in the environment, for `hidden`."""
    for name, value in environ.items():
        if is_secret(name) and name not in _DIRECTORIES and len(value) >= 2 * _SHORTEST:
            _known.add(value)
    _known.update(value for name, value in read_options if is_secret(name) and len(value) >= _SHORTEST)


def masked_options(read_options: Iterable[tuple[str, str]]) -> list[list[str]]:
    """The options of a reader as they are recorded.

    >>> masked_options([("sep", ";"), ("password", "hunter2"), ("url", "jdbc:postgresql://db/sales?password=hunter2")])
    [['sep', ';'], ['password', '***'], ['url', 'jdbc:postgresql://db/sales?password=***']]
    """
    return [[name, MASK if is_secret(name) else masked(value)] for name, value in read_options]


def masked(value: Any) -> Any:
    """A JSON value without the secrets that stand in its URLs; other text, such as SQL, keeps its meaning.

    >>> masked({"input": ["s3a://me:hunter2@bucket/rows"], "where": "token=5"})
    {'input': ['s3a://me:***@bucket/rows'], 'where': 'token=5'}
    """
    match value:
        case str():
            return _QUERY.sub(rf"\1={MASK}", _USER.sub(rf"\1:{MASK}@", value))
        case dict():
            return {name: masked(each) for name, each in value.items()}
        case list() | tuple():
            return [masked(each) for each in value]
    return value


def hidden(text: str) -> str:
    """A message without secrets: those that are known, and whatever is called like one.

    >>> hidden("no table at jdbc:postgresql://db/sales?user=me&password=hunter2 with token=abc")
    'no table at jdbc:postgresql://db/sales?user=me&password=*** with token=***'
    """
    return _ANYWHERE.sub(rf"\1={MASK}", _concealed(text))


def hidden_result(value: Any) -> Any:
    """A JSON value without the secrets that are known or stand in URLs; a path such as ``token=1/rows`` stays."""
    return json.loads(_concealed(json.dumps(value)))


def _concealed(text: str) -> str:
    for secret in sorted(_known, key=len, reverse=True):
        for written in {secret, json.dumps(secret)[1:-1]}:
            text = text.replace(written, MASK)
    masks: str = masked(text)
    return masks
