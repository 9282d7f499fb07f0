"""Values meet the annotation of their parameter, from text and as they are."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Annotated, Any, Literal, NewType, Optional, Protocol, TypedDict, TypeVar, Union

import pytest

from oacp_storage_core.typed_values import MismatchError, convert, describe


class Level(Enum):
    FULL = "full"
    OFF = 0


class Shape(Protocol):
    def area(self) -> float: ...


class Table(TypedDict):
    a: int


Name = NewType("Name", str)
T = TypeVar("T")
Mode = Literal["full", "normal", 3]


@pytest.mark.parametrize(
    ("text", "hint", "value"),
    [
        ("20", int, 20),
        ("-3", int, -3),
        ("2.5", float, 2.5),
        ("3", float, 3.0),
        ("true", bool, True),
        ("Yes", bool, True),
        ("on", bool, True),
        ("1", bool, True),
        ("FALSE", bool, False),
        ("no", bool, False),
        ("off", bool, False),
        ("0", bool, False),
        ("x", str, "x"),
        ("1", str, "1"),
        ("full", Mode, "full"),
        ("3", Mode, 3),
        ("full", Level, Level.FULL),
        ("0", Level, Level.OFF),
        ("100MB", int | str, "100MB"),
        ("100", int | str, 100),
        ("1", bool | int, 1),
        ("true", bool | int, True),
        ("5", Union[int, None], 5),  # noqa: UP007 - the form of older code
        ("none", Optional[int], None),  # noqa: UP045 - the form of older code
        ("", int | None, None),
        ("none", str | None, "none"),
        ("", str | None, ""),
        ("a/b", Path, Path("a/b")),
        ("a/b", str | os.PathLike[str], "a/b"),
        ("a/b", os.PathLike, Path("a/b")),
        ("a/b", PurePosixPath, PurePosixPath("a/b")),
        ("a,b", list[str], ["a", "b"]),
        ("1, 2", tuple[int, ...], (1, 2)),
        ("1,2", set[int], {1, 2}),
        ("", list[str], []),
        ("a,b", Sequence[str], ["a", "b"]),
        ("7", Annotated[int, "seconds"], 7),
        ("bob", Name, "bob"),
        ("x", Any, "x"),
        ("x", T, "x"),
        ("x", object, "x"),
    ],
)
def test_text_is_read_as_the_annotation_says(text, hint, value) -> None:
    got = convert(text, hint, text=True)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("ten", int),
        ("1.5", int),
        ("", int),
        ("1_000", int),
        ("+-1", int),
        ("x", float),
        ("maybe", bool),
        ("nromal", Mode),
        ("x", Level),
        ("x", int | float | bool | None),
        ("1,x", list[int]),
        ("x", dict[str, int]),
        ("x", Callable[[], int]),
    ],
)
def test_text_that_does_not_fit_is_refused(text, hint) -> None:
    with pytest.raises(MismatchError):
        convert(text, hint, text=True)


@pytest.mark.parametrize(
    ("given", "hint", "value"),
    [
        (3, int, 3),
        (3, float, 3.0),
        (3, int | float, 3),
        (True, bool, True),
        ("x", str, "x"),
        (None, int | None, None),
        (3, Mode, 3),
        ("full", Level, Level.FULL),
        (Level.OFF, Level, Level.OFF),
        ("a", Path, Path("a")),
        (Path("a"), Path, Path("a")),
        (Path("a"), str | os.PathLike[str], Path("a")),
        (["a"], list[str], ["a"]),
        (["a"], tuple[str, ...], ("a",)),
        ((1, "x"), tuple[int, str], (1, "x")),
        (["a"], Sequence[str], ["a"]),
        ({"a": 1}, dict[str, int], {"a": 1}),
        ({"a": 1}, Mapping[str, int], {"a": 1}),
        ({"a": 1}, Table, {"a": 1}),
        (len, Callable[[Any], int], len),
        (7, Shape, 7),
        (b"x", Any, b"x"),
    ],
)
def test_a_value_of_the_right_type_is_taken(given, hint, value) -> None:
    got = convert(given, hint)
    assert got == value
    assert type(got) is type(value)


@pytest.mark.parametrize(
    ("given", "hint"),
    [
        ("3", int),
        (3.0, int),
        (True, int),
        (True, float),
        (1, bool),
        (3, str),
        (None, int),
        ("3", Mode),
        (True, Literal[1]),
        ("x", Level),
        (3, Path),
        ("ab", Sequence[str]),
        ([1], list[str]),
        (b"x", str),
        (7, Callable[[], int]),
    ],
)
def test_a_value_of_another_type_is_refused(given, hint) -> None:
    with pytest.raises(MismatchError):
        convert(given, hint)


def test_an_alias_stands_for_what_it_names() -> None:
    alias = SimpleNamespace(__value__=int | str)  # as the type statement of Python 3.12 makes it
    assert convert("7", alias, text=True) == 7
    assert convert("x", alias, text=True) == "x"
    assert describe(alias) == "int or str"


def test_relative_paths_start_in_the_directory(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    assert convert("data", Path, directory=tmp_path) == tmp_path / "data"
    assert convert("./data", str | os.PathLike[str], directory=tmp_path) == str(tmp_path / "data")
    assert convert(["a", "/b"], list[Path], directory=tmp_path) == [tmp_path / "a", Path("/b")]
    assert convert("~/data", Path, directory=tmp_path) == Path("/home/me/data")
    assert convert(":memory:", str | os.PathLike[str], directory=tmp_path) == ":memory:"
    assert convert("data", str, directory=tmp_path) == "data"
    assert convert("data", Path | None, text=True, directory=tmp_path) == tmp_path / "data"


@pytest.mark.parametrize(
    ("hint", "words"),
    [
        (int, "int"),
        (int | None, "int or None"),
        (Mode, "'full' or 'normal' or 3"),
        (Level, "'full' or 0"),
        (str | os.PathLike[str], "str or a path"),
        (list[int], "a list of int"),
        (tuple, "a list"),
        (Annotated[Name, 1], "str"),
        (Callable[[], int], "Callable"),
    ],
)
def test_types_are_described_in_words(hint, words) -> None:
    assert describe(hint) == words
