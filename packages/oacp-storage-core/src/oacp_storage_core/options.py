"""Options of a backend: the keyword arguments of its class, read from its signature and checked against it."""

from __future__ import annotations

import builtins
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, get_type_hints

from oacp_storage_core.errors import StorageConfigError
from oacp_storage_core.near_miss import did_you_mean
from oacp_storage_core.typed_values import MismatchError, convert, describe, takes_path
from oacp_storage_core.urls import is_secret


class Given(NamedTuple):
    """The value given for an option, and where it comes from.

    ``text``: from a URL or the environment, so that a str may stand for another type. ``directory``: of the
    configuration file that gives it; relative paths start there. ``filled_in``: from a variable or a file,
    so it may be secret and is not shown.
    """

    value: object
    text: bool = False
    directory: Path | None = None
    filled_in: bool = False


class Options(NamedTuple):
    """What a class takes.

    ``hints`` maps each option to its annotation, ``required`` names those without a default, ``paths`` are the
    defaults of those that are paths, and ``open`` says that any further keyword is taken.
    """

    hints: Mapping[str, Any]
    required: frozenset[str]
    paths: Mapping[str, str]
    open: bool

    def with_option(self, name: str, hint: Any) -> Options:
        """These and one more, unless the class has one of that name itself."""
        return self if name in self.hints else self._replace(hints={**self.hints, name: hint})

    def check(self, given: Mapping[str, Given], label: str) -> dict[str, Any]:
        """The values as the class wants them; ``StorageConfigError`` for an unknown or ill-typed option."""
        return {name: self._checked(name, one, label) for name, one in given.items()}

    def _checked(self, name: str, given: Given, label: str) -> Any:
        if name not in self.hints:
            if self.open:
                return given.value
            raise StorageConfigError(
                f"{label} has no option {name!r}{did_you_mean(name, self.hints)}; its options are "
                f"{', '.join(sorted(self.hints)) or 'none'}"
            )
        try:
            return convert(given.value, self.hints[name], text=given.text, directory=given.directory)
        except MismatchError:
            raise StorageConfigError(
                f"{label}: the option {name!r} must be {describe(self.hints[name])}, not {_shown(name, given)}; "
                f"its options are {', '.join(sorted(self.hints))}"
            ) from None


def options_of(backend: type, *, from_url: bool = False) -> Options:
    """The options of the class, those of ``from_url`` included where it is made from a URL.

    Where ``__init__`` takes ``**keywords``, the keywords of the next ``__init__`` in the order of resolution
    count as well: that is whom they are passed on to.
    """
    hints: dict[str, Any] = {}
    if from_url:
        _, open_ended = _add(backend.from_url, hints)  # type: ignore[attr-defined]  # asked for: it has one
        if open_ended:
            _, open_ended = _add_constructor(backend, hints)
        return Options(
            hints, frozenset(), {}, open_ended
        )  # the URL stands for what is required or a path elsewhere
    defaults, open_ended = _add_constructor(backend, hints)
    required = frozenset(name for name, default in defaults.items() if default is inspect.Parameter.empty)
    paths = {
        name: os.fspath(default)
        for name, default in defaults.items()
        if isinstance(default, str | os.PathLike) and takes_path(hints[name])
    }
    return Options(hints, required, paths, open_ended)


def checked_arguments(
    init: Callable[..., Any],
    label: str,
    instance: object,
    args: Sequence[object],
    keywords: Mapping[str, object],
) -> inspect.BoundArguments:
    """The arguments of a call of ``init``, its options checked and as it wants them; ``TypeError`` as the call's own.

    What further positional and keyword arguments ``init`` takes are left as they are.
    """
    try:
        bound = inspect.signature(init).bind(instance, *args, **keywords)
    except TypeError as exc:
        raise TypeError(f"{label}() {exc}") from None
    hints: dict[str, Any] = {}
    _add(init, hints)
    declared = Options(hints, frozenset(), {}, open=False)
    given = {name: Given(value) for name, value in bound.arguments.items() if name in hints}
    bound.arguments.update(declared.check(given, label))
    return bound


def _add_constructor(backend: type, hints: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Add the keywords of ``__init__`` and of those it passes keywords on to.

    Returns the defaults of the first only (it may itself give what the others require), and whether any
    further keyword is taken.
    """
    first: dict[str, Any] | None = None
    open_ended = False
    for init in (vars(cls)["__init__"] for cls in backend.__mro__[:-1] if "__init__" in vars(cls)):
        defaults, open_ended = _add(init, hints)
        first = defaults if first is None else first
        if not open_ended:
            break
    return first or {}, open_ended


def _add(function: Callable[..., Any], hints: dict[str, Any]) -> tuple[dict[str, Any], bool]:
    """Add the function's keywords to those found; returns their defaults, and whether it takes any others.

    Its first parameter (self, or the URL of a bound ``from_url``) is no option.
    """
    function = inspect.unwrap(function)
    try:
        parameters = list(inspect.signature(function).parameters.values())[1:]
    except ValueError:  # written in C: it does not tell
        return {}, True
    defaults = {}
    for parameter in parameters:
        if parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            defaults[parameter.name] = parameter.default
            hints.setdefault(parameter.name, _evaluated(parameter.annotation, function))
    return defaults, any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)


class _Names(dict[str, Any]):
    """Names for evaluating annotations.

    Those imported for type checkers only are missing at run time: the usual ones are known here, any other
    means Any.
    """

    def __missing__(self, name: str) -> Any:
        usual = {"Path": Path, "PathLike": os.PathLike, "os": os}
        return usual.get(name) or getattr(builtins, name, None) or Any


def _evaluated(annotation: Any, function: Callable[..., Any]) -> Any:
    if annotation is inspect.Parameter.empty:
        return Any
    names = _Names(getattr(function, "__globals__", {}))
    holder = SimpleNamespace(__annotations__={"it": annotation})
    try:
        return get_type_hints(holder, {}, names, include_extras=True)["it"]
    except Exception:  # noqa: BLE001 - an annotation that cannot be evaluated tells nothing
        return Any


def _shown(name: str, given: Given) -> str:
    kind = type(given.value).__name__
    if given.filled_in or is_secret(name) or not isinstance(given.value, str | int | float | bool):
        return kind if not given.filled_in else f"the {kind} filled in for it"
    text = repr(given.value)
    return f"{kind} {text}" if len(text) <= 60 and "://" not in text else kind
