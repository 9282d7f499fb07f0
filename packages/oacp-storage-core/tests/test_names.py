"""Names: what is one, and what is said of those that are not."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from oacp_storage_core import InvalidKeyError, StorageConfigError
from oacp_storage_core.names import MAX_NAME_BYTES, check_name, check_namespace, check_prefix


class Role(StrEnum):
    CRITIC = "critic"


@pytest.mark.parametrize(
    "name",
    [
        "a",
        " ",
        ".",
        "..",
        "/",
        "CON",
        "Bob",
        "bob",
        "a\nb",
        "\x01\x7f",
        "é",
        "e\u0301",
        "\u2028",
        "\ufeff",
        "\U0001f600",
        "x" * MAX_NAME_BYTES,
        "é" * (MAX_NAME_BYTES // 2),
        "\U0001f600" * (MAX_NAME_BYTES // 4),
    ],
    ids=ascii,
)
def test_names_are_kept_as_they_are(name: str) -> None:
    checked = check_name(name)
    assert checked == name
    assert type(checked) is str


def test_a_str_subclass_stands_for_its_text() -> None:
    checked = check_name(Role.CRITIC)
    assert checked == "critic"
    assert type(checked) is str


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("", "agent_id is empty; it must have 1 to 512 bytes of UTF-8"),
        ("a\0b", "agent_id 'a\\x00b' contains a NUL character; remove it"),
        ("é\0", "agent_id '\\xe9\\x00' contains a NUL character; remove it"),
        ("a\ud800", "agent_id 'a\\ud800' contains a lone surrogate and is no valid text"),
        ("x" * 513, f"agent_id '{'x' * 49}...' has 513 bytes of UTF-8; at most 512 are allowed"),
        (
            "é" * 257,
            f"agent_id '{ascii('é' * 257)[1:50]}...' has 514 bytes of UTF-8; at most 512 are allowed",
        ),
        (None, "agent_id must be a str, not NoneType"),
        (1, "agent_id must be a str, not int"),
        (b"a", "agent_id must be a str, not bytes"),
        (["a"], "agent_id must be a str, not list"),
    ],
    ids=lambda value: ascii(value)[:30],
)
def test_other_names_are_refused(name: Any, message: str) -> None:
    with pytest.raises(InvalidKeyError) as caught:
        check_name(name)
    assert str(caught.value) == message
    assert isinstance(caught.value, ValueError)


def test_the_message_says_which_argument_it_is() -> None:
    with pytest.raises(InvalidKeyError, match=r"^interaction id is empty"):
        check_name("", "interaction id")


@given(st.text(st.characters(), max_size=600))
def test_a_name_is_1_to_512_bytes_without_nul(name: str) -> None:
    size = len(name.encode(errors="surrogatepass"))
    valid = 1 <= size <= 512 and not any(char == "\0" or "\ud800" <= char <= "\udfff" for char in name)
    if valid:
        assert check_name(name) == name
    else:
        with pytest.raises(InvalidKeyError):
            check_name(name)


def test_prefixes_may_be_empty_and_longer_than_names() -> None:
    for prefix in ("", "a", "é", "x" * 1000):
        assert check_prefix(prefix) == prefix
    assert type(check_prefix(Role.CRITIC)) is str


@pytest.mark.parametrize(
    ("prefix", "message"),
    [
        ("a\0", "after 'a\\x00' contains a NUL or a lone surrogate, which no name has"),
        ("\udfff", "after '\\udfff' contains a NUL or a lone surrogate, which no name has"),
        (None, "after must be a str, not NoneType"),
        (b"", "after must be a str, not bytes"),
    ],
)
def test_prefixes_that_no_name_has_are_refused(prefix: Any, message: str) -> None:
    with pytest.raises(InvalidKeyError) as caught:
        check_prefix(prefix, "after")
    assert str(caught.value) == message


@pytest.mark.parametrize("namespace", ["default", "a", "0", "-", "_", "tenant_1-b", "x" * 64])
def test_namespaces(namespace: str) -> None:
    assert check_namespace(namespace) == namespace


@pytest.mark.parametrize("namespace", ["", "A", "a.b", "a b", "a/b", "é", "x" * 65, "a\n", "a\0", None, 1])
def test_other_namespaces_are_refused(namespace: Any) -> None:
    with pytest.raises(StorageConfigError, match=r"use 1 to 64 of the characters a-z, 0-9, _ and -"):
        check_namespace(namespace)
