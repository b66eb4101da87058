"""Which Params were given: None gives none, and a default that is written out is none either."""

from collections.abc import Mapping
from typing import Any, Self

from pyspark.ml.param import Params

from sparkdml.errors import ParamError


class HasOptional(Params):
    """Params that may be given as None, as the signatures write those that have no default."""

    def _set(self, **kwargs: Any) -> Self:
        """As in pyspark.ml; a Param that is given as None is left out or cleared."""
        for name in [name for name, value in kwargs.items() if value is None]:
            self.clear(self.getParam(name))
            del kwargs[name]
        super()._set(**kwargs)
        return self


def is_chosen(params: Params, name: str) -> bool:
    """Whether a Param has another value than its default, which may be written out."""
    return params.isSet(name) and params.getOrDefault(name) != params._defaultParamMap.get(params.getParam(name))


def check_owned(params: Params, owner: str, owned: Mapping[str, str]) -> None:
    """Refuse Params that were given although they are for another value of the Param `owner`: that in `owned`."""
    value = params.getOrDefault(owner)
    for name, wanted in owned.items():
        if is_chosen(params, name) and value != wanted:
            raise ParamError(f"{name}={params.getOrDefault(name):g} is for {owner}={wanted!r}, not {value!r}.")
