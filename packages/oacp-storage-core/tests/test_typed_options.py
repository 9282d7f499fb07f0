"""Constructors called directly check their options as a configuration does."""

from __future__ import annotations

import inspect
import os
from pathlib import Path
from typing import Any, Literal

import pytest

from oacp_storage_core import MemoryStorage, StorageConfigError, create_storage, typed_options


class Shelf(MemoryStorage):
    @typed_options
    def __init__(
        self,
        path: str | os.PathLike[str] = "shelf",
        *extra: object,
        size: int = 4,
        wal: bool = True,
        mode: Literal["full", "normal"] = "full",
        seconds: float = 1.0,
        hosts: tuple[str, ...] = (),
        password: str | None = None,
        **others: Any,
    ) -> None:
        """What a shelf is made of."""
        self.given = {
            "path": path,
            "size": size,
            "wal": wal,
            "mode": mode,
            "seconds": seconds,
            "hosts": hosts,
        }
        self.rest = (extra, others)
        super().__init__()


def refusal(*args: Any, **options: Any) -> str:
    with pytest.raises(StorageConfigError) as caught:
        Shelf(*args, **options)
    return str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"wal": "no"}, "the option 'wal' must be bool, not str 'no'"),
        ({"wal": 1}, "the option 'wal' must be bool, not int 1"),
        ({"size": "4"}, "the option 'size' must be int, not str '4'"),
        ({"size": True}, "the option 'size' must be int, not bool True"),
        ({"size": None}, "the option 'size' must be int, not NoneType"),
        ({"mode": "nromal"}, "the option 'mode' must be 'full' or 'normal', not str 'nromal'"),
        ({"path": b"x"}, "the option 'path' must be str or a path, not bytes"),
        ({"hosts": "a,b"}, "the option 'hosts' must be a list of str, not str 'a,b'"),
        ({"password": 12345}, "the option 'password' must be str or None, not int;"),
    ],
)
def test_what_is_of_another_type_is_refused(options: dict[str, Any], message: str) -> None:
    said = refusal(**options)
    assert said.startswith(f"Shelf: {message}")
    assert said.endswith("its options are hosts, mode, password, path, seconds, size, wal")
    assert "12345" not in said


def test_what_is_given_by_position_is_checked_as_well() -> None:
    assert "'path' must be str or a path" in refusal(7)


def test_what_means_the_same_is_converted_and_the_rest_arrives_as_it_is() -> None:
    shelf = Shelf(Path("p"), 1, "two", seconds=3, hosts=["a"], wal=False, more={"x": 1})  # type: ignore[arg-type]
    assert shelf.given == {
        "path": Path("p"),
        "size": 4,
        "wal": False,
        "mode": "full",
        "seconds": 3.0,
        "hosts": ("a",),
    }
    assert shelf.rest == ((1, "two"), {"more": {"x": 1}})


def test_a_subclass_is_named_as_itself() -> None:
    class Cupboard(Shelf):
        pass

    with pytest.raises(StorageConfigError, match="Cupboard: the option 'wal'"):
        Cupboard(wal="yes")  # type: ignore[arg-type]


def test_what_does_not_fit_the_signature_is_a_type_error() -> None:
    with pytest.raises(TypeError, match=r"^MemoryStorage\(\) got an unexpected keyword argument 'nmae'$"):
        MemoryStorage(nmae="x")  # type: ignore[call-arg]


def test_the_constructor_looks_as_it_was_written() -> None:
    assert list(inspect.signature(Shelf).parameters)[:3] == ["path", "extra", "size"]
    assert Shelf.__init__.__doc__ == "What a shelf is made of."


def test_a_configuration_says_the_same() -> None:
    with pytest.raises(StorageConfigError) as configured:
        create_storage({"backend": "memory", "coerce": "no"})
    with pytest.raises(StorageConfigError) as direct:
        MemoryStorage(coerce="no")  # type: ignore[arg-type]
    rule = "the option 'coerce' must be bool, not str 'no'; its options are coerce, name, namespace"
    assert str(configured.value).endswith(rule)
    assert str(direct.value) == f"MemoryStorage: {rule}"
