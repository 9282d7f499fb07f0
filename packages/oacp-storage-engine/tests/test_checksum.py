"""Checksums: stable for ever, and different for whatever differs."""

import pytest

from oacp_storage_core import CorruptDataError
from oacp_storage_engine import Doc, DocKind, Record, document_crc, interaction_crc
from oacp_storage_engine.codec import to_document, to_interaction


def test_checksums_stay_what_they_are() -> None:
    """They are stored: a release that computes others would call every record damaged."""
    assert interaction_crc("ann", "id", 1, b"{}") == 0x8131CF36
    assert document_crc(DocKind.STATE, "ann", "", 1, b"{}") == 0x19832EE8
    assert document_crc(DocKind.SYSTEM, None, "key", 1, b"{}") == 0x7F037008


def test_everything_that_is_stored_counts() -> None:
    crcs = {
        interaction_crc("ann", "id", 1, b"{}"),
        interaction_crc("an", "nid", 1, b"{}"),
        interaction_crc("ann", "i", 1, b"d{}"),
        interaction_crc("ann", "id", 11, b"{}"),
        interaction_crc("ann", "id", 1, b"{ }"),
        document_crc(DocKind.STATE, "ann", "id", 1, b"{}"),
        document_crc(DocKind.LEARNING, "ann", "id", 1, b"{}"),
        document_crc(DocKind.SYSTEM, "ann", "id", 1, b"{}"),
        document_crc(DocKind.SYSTEM, None, "id", 1, b"{}"),
    }
    assert len(crcs) == 9


BODY = b'{"n":1}'
RECORD = Record(3, "id", 5, BODY, interaction_crc("ann", "id", 5, BODY))
DOC = Doc("key", 2, 5, BODY, document_crc(DocKind.LEARNING, "ann", "key", 5, BODY))
HUGE = 2**62


@pytest.mark.parametrize(
    "damaged",
    [
        RECORD._replace(body=b'{"n":2}'),
        RECORD._replace(id="ie"),
        RECORD._replace(at_us=6),
        RECORD._replace(crc=0),
        RECORD._replace(id="\ud800"),
        RECORD._replace(damage="the line is cut"),
        RECORD._replace(body=b'{"n":', crc=interaction_crc("ann", "id", 5, b'{"n":')),
        RECORD._replace(body=b"[]", crc=interaction_crc("ann", "id", 5, b"[]")),
        RECORD._replace(at_us=HUGE, crc=interaction_crc("ann", "id", HUGE, BODY)),
    ],
)
def test_a_damaged_record_is_never_returned(damaged: Record) -> None:
    assert to_interaction("ann", RECORD).data == {"n": 1}
    with pytest.raises(CorruptDataError, match=r"interaction 3 of agent 'ann' is damaged: .+") as caught:
        to_interaction("ann", damaged)
    assert (caught.value.agent_id, caught.value.sequence, caught.value.key) == ("ann", 3, None)


@pytest.mark.parametrize(
    "damaged",
    [
        DOC._replace(body=b'{"n":2}'),
        DOC._replace(at_us=6),
        DOC._replace(damage="the file is cut"),
        DOC._replace(body=b"\xff", crc=document_crc(DocKind.LEARNING, "ann", "key", 5, b"\xff")),
    ],
)
def test_a_damaged_document_is_never_returned(damaged: Doc) -> None:
    assert to_document("ann", DocKind.LEARNING, DOC).data == {"n": 1}
    with pytest.raises(CorruptDataError, match="the learning data 'key' of agent 'ann' is damaged") as caught:
        to_document("ann", DocKind.LEARNING, damaged)
    assert (caught.value.agent_id, caught.value.sequence, caught.value.key) == ("ann", None, "key")
