"""The seal of a record: its checksum, bound to its place in the log.

The checksum of the engine covers names, time and body, not the sequence, which stores assign. Here a record is
found by an index that holds the sequence and the row's position: one flipped bit in either would give a sound
record at a place that is not its own, so the place is added to what is stored as ``crc``.
"""

from __future__ import annotations

_MASK = 0xFFFF_FFFF


def seal(crc: int, sequence: int) -> int:
    """What is stored as ``crc`` of the record with this checksum at this sequence; 32 bits."""
    return (crc + sequence + (sequence >> 32)) & _MASK


def unseal(stored: int, sequence: int) -> int:
    """The checksum of the record that was stored with this seal, if this is its sequence."""
    return (stored - sequence - (sequence >> 32)) & _MASK
