"""Profiles: how much is measured. ``quick`` takes some minutes for each storage, ``full`` many more."""

from __future__ import annotations

from typing import NamedTuple


class Profile(NamedTuple):
    """How much is measured.

    ``rounds`` over all rows (of which heavy ones take part in three); ``seconds`` that each row is measured in each
    round; ``histories`` are the lengths of the logs that reads and appends are measured at; ``batch`` the interactions
    of one batch; ``watched`` the deliveries that are timed; ``replayed`` the most lines of a file that are replayed;
    ``streamed`` the interactions streamed when memory is measured; ``starts`` how often starting is measured;
    ``warm_up`` the seconds that the disk is written before, and left alone after.
    """

    name: str
    rounds: int
    seconds: float
    callers: tuple[int, ...]
    sizes: tuple[int, ...]
    histories: tuple[int, ...]
    batch: int
    watched: int
    replayed: int
    streamed: int
    processes: tuple[int, ...]
    starts: int
    warm_up: float


QUICK = Profile(
    name="quick",
    rounds=5,
    seconds=0.4,
    callers=(1, 16, 64, 256),
    sizes=(100, 10_000),
    histories=(0, 1_000, 100_000),
    batch=10_000,
    watched=100,
    replayed=6_000,
    streamed=100_000,
    processes=(1, 10),
    starts=5,
    warm_up=1.0,
)
FULL = Profile(
    name="full",
    rounds=5,
    seconds=1.0,
    callers=(1, 16, 64, 256),
    sizes=(100, 10_000, 100_000),
    histories=(0, 1_000, 100_000, 1_000_000),
    batch=10_000,
    watched=500,
    replayed=1_000_000,
    streamed=1_000_000,
    processes=(1, 2, 4, 10),
    starts=9,
    warm_up=3.0,
)
PROFILES = {profile.name: profile for profile in (QUICK, FULL)}
