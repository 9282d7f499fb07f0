"""Values for annotated parameters: checked as they are, or read from text where text is all there is.

This is what lets ``pool_size=20`` in a URL arrive as an int, and a misspelt ``durability="nromal"`` be refused
before a backend is made.
"""

from __future__ import annotations

import collections.abc
import os
import types
from enum import Enum
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, NewType, Union, get_args, get_origin

_TRUE = {"true", "yes", "on", "1"}
_FALSE = {"false", "no", "off", "0"}
_LISTS: dict[Any, type] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    collections.abc.Sequence: list,
    collections.abc.Collection: list,
    collections.abc.Iterable: list,
}


class MismatchError(Exception):
    """The value is not of the annotated type."""


def convert(value: object, hint: Any, *, text: bool = False, directory: Path | None = None) -> Any:
    """The value as the annotation ``hint`` wants it, or ``MismatchError``.

    A value of the right type comes back as it is. ``text`` says that a str may stand for any type, as in a
    URL: ``true``, ``20``, ``a,b`` for lists, ``none`` for None where no str is wanted. Independently of it, a
    list may stand for a tuple or set, a str for a path and the value of an ``Enum`` for its member, and
    relative paths become paths in ``directory``. What the annotation does not tell (``Any``, unknown names)
    is not checked.
    """
    kinds = _kinds(hint)
    if any(_is_open(kind) for kind in kinds):
        return value
    if isinstance(value, str) and directory is not None and any(map(_is_path, kinds)):
        value = _resolved(value, directory)
    if text and isinstance(value, str):
        if str in kinds or any(map(_is_path, kinds)):  # then "none" is a text like any other
            kinds = [kind for kind in kinds if kind is not types.NoneType]
        for kind in sorted(kinds, key=_specificity):
            try:
                return _from_text(value, kind, directory)
            except ValueError:
                continue
        raise MismatchError
    for kind in kinds:
        if _is_instance(value, kind):
            return value
    for kind in kinds:
        try:
            return _adapt(value, kind, text, directory)
        except (ValueError, MismatchError):
            continue
    raise MismatchError


def takes_path(hint: Any) -> bool:
    """Whether a path is among what the annotation allows."""
    return any(map(_is_path, _kinds(hint)))


def describe(hint: Any) -> str:
    """The type in words, as in ``int or str`` or ``'full' or 'normal'``."""
    words = dict.fromkeys(_describe(kind) for kind in _kinds(hint))
    return " or ".join(words)


def _kinds(hint: Any) -> list[Any]:
    """The members of a union; aliases and annotations are looked through."""
    if get_origin(hint) in (Union, types.UnionType):
        return [kind for member in get_args(hint) for kind in _kinds(member)]
    if get_origin(hint) is Annotated:
        return _kinds(get_args(hint)[0])
    if isinstance(hint, NewType):
        return _kinds(hint.__supertype__)
    if hasattr(hint, "__value__"):  # an alias made with the type statement
        return _kinds(hint.__value__)
    return [types.NoneType if hint is None else hint]


def _base(kind: Any) -> Any:
    return get_origin(kind) or kind


def _is_open(kind: Any) -> bool:
    """Whether the annotation tells nothing that could be checked."""
    base = _base(kind)
    return base in (Any, object) or (base is not Literal and not isinstance(base, type))


def _is_path(kind: Any) -> bool:
    base = _base(kind)
    return isinstance(base, type) and issubclass(base, os.PathLike)


def _resolved(text: str, directory: Path) -> str:
    """A path of a configuration file; what begins with a colon, as SQLite's ``:memory:``, is none."""
    return text if text.startswith(":") else str(directory / Path(text).expanduser())


def _specificity(kind: Any) -> int:
    """The order in which the members of a union are tried on text: what accepts any text comes last."""
    order: list[Any] = [Literal, types.NoneType, int, float, bool]
    base = _base(kind)
    if base in order:
        return order.index(base)
    if base is str:
        return len(order) + 1
    return len(order) + 2 if _is_path(kind) or base in _LISTS else len(order)


def _from_text(value: str, kind: Any, directory: Path | None) -> Any:
    base = _base(kind)
    if base is str:
        return value
    if base is bool and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    if base is types.NoneType and value.lower() in {"", "none", "null"}:
        return None
    if base is int and value.lstrip("+-").isdecimal():
        return int(value)
    if base is float:
        return float(value)
    if base is Literal:
        return _choice(value, {str(member): member for member in get_args(kind)})
    if issubclass(base, Enum):
        return _choice(value, {str(member.value): member for member in base})
    if _is_path(kind):
        return _path(value, base)
    if base in _LISTS:
        parts = [part.strip() for part in value.split(",")] if value else []
        return _LISTS[base](_items(parts, kind, text=True, directory=directory))
    raise ValueError


def _choice(value: str, members: dict[str, Any]) -> Any:
    if value not in members:
        raise ValueError
    return members[value]


def _is_instance(value: object, kind: Any) -> bool:
    base = _base(kind)
    if base is Literal:
        return any(type(value) is type(member) and value == member for member in get_args(kind))
    if base in (int, float) and isinstance(value, bool):
        return False
    if base in _LISTS:
        return False  # its items want a look: see _adapt
    try:
        return isinstance(value, base)
    except TypeError:  # a protocol that cannot be checked
        return True


def _adapt(value: object, kind: Any, text: bool, directory: Path | None) -> Any:
    base = _base(kind)
    if base is float and type(value) is int:
        return float(value)
    if isinstance(value, str):
        if base is not Literal and issubclass(base, Enum):
            return base(value)
        if _is_path(kind):
            return _path(value, base)
    elif base in _LISTS and isinstance(value, list | tuple | set | frozenset):
        items = _items(value, kind, text=text, directory=directory)
        return value if type(value) is base and list(value) == items else _LISTS[base](items)
    raise ValueError


def _items(
    values: collections.abc.Iterable[object], kind: Any, *, text: bool, directory: Path | None
) -> list[Any]:
    arguments = [argument for argument in get_args(kind) if argument is not Ellipsis]
    hint = arguments[0] if len(set(arguments)) == 1 else Any
    return [convert(value, hint, text=text, directory=directory) for value in values]


def _path(value: str, base: type) -> PurePath:
    return base(value) if issubclass(base, PurePath) else Path(value)


def _describe(kind: Any) -> str:
    base = _base(kind)
    if base is Literal:
        return " or ".join(repr(member) for member in get_args(kind))
    if base is types.NoneType:
        return "None"
    if _is_path(kind):
        return "a path"
    if base in _LISTS:
        arguments = [argument for argument in get_args(kind) if argument is not Ellipsis]
        return f"a list of {describe(arguments[0])}" if len(set(arguments)) == 1 else "a list"
    if isinstance(base, type) and issubclass(base, Enum):
        return " or ".join(repr(member.value) for member in base)
    return base.__name__ if isinstance(base, type) else str(kind)
