"""Peers by name: libraries of others that keep what agents said. Each is used if it is installed."""

from __future__ import annotations

from oacp_storage_bench.peers.base import Peer
from oacp_storage_bench.peers.key_value import KeyValueDisk, KeyValuePostgres, KeyValueRedis
from oacp_storage_bench.peers.langgraph import LangGraphPostgres, LangGraphSqlite
from oacp_storage_bench.peers.llama_index import LlamaPostgres, LlamaRedis, LlamaSqlite
from oacp_storage_bench.peers.oacp_files import OacpFiles
from oacp_storage_bench.peers.openai_agents import (
    OpenaiRedis,
    OpenaiSqlalchemyPostgres,
    OpenaiSqlalchemySqlite,
    OpenaiSqlite,
)

__all__ = ["PEERS", "Peer", "peers_of"]

PEERS: dict[str, type[Peer]] = {
    "oacp": OacpFiles,
    "key-value-disk": KeyValueDisk,
    "langgraph-sqlite": LangGraphSqlite,
    "openai-sqlite": OpenaiSqlite,
    "openai-sqlalchemy-sqlite": OpenaiSqlalchemySqlite,
    "llama-sqlite": LlamaSqlite,
    "langgraph-postgres": LangGraphPostgres,
    "openai-sqlalchemy-postgres": OpenaiSqlalchemyPostgres,
    "key-value-postgres": KeyValuePostgres,
    "llama-postgres": LlamaPostgres,
    "openai-redis": OpenaiRedis,
    "key-value-redis": KeyValueRedis,
    "llama-redis": LlamaRedis,
}


def peers_of(family: str) -> dict[str, type[Peer]]:
    """The peers that are measured beside that kind of store."""
    return {slug: peer for slug, peer in PEERS.items() if peer.family == family}
