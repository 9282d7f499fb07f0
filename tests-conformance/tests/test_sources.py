"""Sources: built, shown without secrets, and sent to other processes."""

from __future__ import annotations

from functools import partial

import pytest

from four_methods import FourMethods
from oacp_storage_conformance.sources import (
    build,
    from_plain,
    password_of,
    shown,
    to_plain,
    without_namespace,
)
from oacp_storage_core import MemoryStorage

URL = "postgresql://ann:s3cret@db.example:5432/agents?sslmode=require"


@pytest.mark.parametrize(
    ("source", "secret"),
    [
        (URL, "s3cret"),
        ({"url": URL}, "s3cret"),
        ({"backend": "postgres", "password": "s3cret"}, "s3cret"),
        ("sqlite:////tmp/x.db", None),
        ({"backend": "file", "directory": "x"}, None),
        (MemoryStorage, None),
        ("main", None),
    ],
)
def test_passwords_are_found_and_not_shown(source, secret):
    assert password_of(source) == secret
    assert "s3cret" not in shown(source)


def test_what_is_shown():
    assert shown(URL) == "postgresql://***@db.example:5432/agents?sslmode=require"
    assert shown({"backend": "file", "directory": "x"}) == "file"
    assert shown(partial(FourMethods, {}, {})) == "FourMethods"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("memory://x?namespace=a", "memory://x"),
        ("memory://x?namespace=a&b=c", "memory://x?b=c"),
        ("memory://x?b=c&namespace=a", "memory://x?b=c"),
        ("memory://x?b=c&namespace=a&d=e", "memory://x?b=c&d=e"),
        ("memory://x", "memory://x"),
        ({"backend": "memory", "namespace": "a"}, {"backend": "memory"}),
        ("name", "name"),
    ],
)
def test_the_namespace_of_a_source_is_replaced(source, expected):
    assert without_namespace(source) == expected


def test_building():
    assert isinstance(build("memory://x?namespace=theirs", namespace="mine"), MemoryStorage)
    assert isinstance(build(MemoryStorage, namespace="mine"), MemoryStorage)
    assert type(build(partial(FourMethods, {}, {}))).__name__ == "AdaptedStorage"


@pytest.mark.parametrize("source", ["memory://x", {"backend": "memory", "name": "x"}, MemoryStorage])
def test_sources_travel(source):
    assert from_plain(to_plain(source)) == source


def test_what_cannot_be_imported_does_not_travel():
    with pytest.raises(ValueError, match="importable"):
        to_plain(partial(FourMethods, {}, {}))
    with pytest.raises(ValueError, match="importable"):
        to_plain(lambda: MemoryStorage("x"))
