"""Names become file names, and back, on any file system."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from oacp_storage_file.layout import segment_first, segment_name
from oacp_storage_file.naming import Kind, decode, encode, is_hashed

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=512)


@given(NAMES, st.sampled_from(Kind))
def test_every_name_comes_back_or_is_hashed(name: str, kind: Kind) -> None:
    file_name = encode(kind, name)
    assert len(file_name) <= 202
    assert set(file_name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")
    if is_hashed(kind, file_name):
        assert decode(kind, file_name) is None
    else:
        assert decode(kind, file_name) == name


@given(st.lists(NAMES, unique=True, max_size=30))
def test_different_names_have_different_files(names: list[str]) -> None:
    files = [encode(Kind.AGENT, name) for name in names]
    assert len(set(files)) == len(names)
    assert len({file.casefold() for file in files}) == len(names)


def test_names_that_file_systems_treat_in_their_own_ways() -> None:
    names = [
        "Bob",
        "bob",
        "BOB",
        "\u00e9",
        "e\u0301",
        ".",
        "..",
        "con",
        "nul",
        "a/b",
        "a\\b",
        "a:b",
        "a.",
        "a ",
        "-",
    ]
    files = [encode(Kind.AGENT, name) for name in names]
    assert len({file.casefold() for file in files}) == len(names)
    assert encode(Kind.AGENT, "con") == "a-con"
    assert encode(Kind.AGENT, "Bob.1") == "a-_42ob_2e1"


def test_a_name_that_only_looks_encoded_is_not_taken_for_one() -> None:
    for file_name in (
        "a-",
        "a-_4",
        "a-_zz",
        "a-_61",
        "a-B",
        "a-_ff",
        "b-bob",
        "k-x",
        "README.md",
        "a-" + "x" * 250,
    ):
        assert decode(Kind.AGENT, file_name) is None


def test_segments_sort_by_their_names() -> None:
    names = [segment_name(first) for first in (1, 2, 10, 999_999_999_999)]
    assert names == sorted(names)
    assert [segment_first(name) for name in names] == [1, 2, 10, 999_999_999_999]
    assert segment_first(segment_name(10**15)) == 10**15
    for other in ("log-1.jsonl", "log-0000000000001.jsonl", "log-000000000001.jsonl.tmp", "state.json"):
        assert segment_first(other) is None
