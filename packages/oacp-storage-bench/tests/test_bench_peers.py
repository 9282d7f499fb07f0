"""Peers that are installed keep what they are given; those that are not are told with what to install."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from bench_samples import TINY
from oacp_storage_bench.peers import PEERS, peers_of
from oacp_storage_bench.place import Target
from oacp_storage_bench.processes import ChildFailed, child
from oacp_storage_bench.subject import subject
from oacp_storage_bench.workloads import appends
from oacp_storage_conformance.servers import PostgresServer, RedisServer


async def prove(slug: str, directory, url: str | None = None) -> None:
    place = [PEERS[slug].family, url, str(directory), "test0"]
    try:
        async with child("peer", peer=slug, place=place, agents=["a", "b"]) as peer:
            assert peer.facts["durability"] == "power-cut"
            assert set(peer.facts["versions"]) == set(PEERS[slug].distributions)
            answer = await peer.ask({"callers": 4, "seconds": 0.05})
            assert answer["sample"][0] > 0
    except ChildFailed as exc:
        if "pip install" in str(exc):
            pytest.skip(str(exc))
        raise


@pytest.mark.asyncio
@pytest.mark.parametrize("slug", [slug for slug, peer in PEERS.items() if peer.family in ("file", "sqlite")])
async def test_embedded_peers(slug, tmp_path):
    await prove(slug, tmp_path)


@pytest.mark.asyncio
@pytest.mark.parametrize("slug", peers_of("redis"))
async def test_peers_on_redis(slug, tmp_path, oacp_redis_server: RedisServer):
    await prove(slug, tmp_path, oacp_redis_server.url)


@pytest.mark.asyncio
@pytest.mark.parametrize("slug", peers_of("postgres"))
async def test_peers_on_postgres(slug, tmp_path, oacp_postgres_server: PostgresServer):
    await prove(slug, tmp_path, oacp_postgres_server.url)


@pytest.mark.asyncio
async def test_a_peer_that_is_missing_is_left_out_with_a_note(tmp_path):
    if find_spec("diskcache") is not None:
        pytest.skip("the peer is installed here")
    target = Target("file", tmp_path)
    try:
        async with subject(target, "file", TINY, frozenset({"peers"}), None) as made:
            assert "key-value-disk" not in [slug for slug, _, _ in made.peers]
            (note,) = [note for note in made.notes if "DiskStore" in note]
            assert "pip install" in note
            assert [cell.row.side for cell in await appends.cells(made)] == ["ours"] * len(TINY.callers)
    finally:
        target.remove()
