"""A second path into a PostgreSQL store: statements of its own, and the server process."""

from __future__ import annotations

import json
from typing import Any

import asyncpg

from oacp_storage_conformance import Tamper
from oacp_storage_conformance.servers import PostgresServer
from oacp_storage_conformance.tamper import Part
from postgres_testing import in_another_loop, query

_OTHERS = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
"""


def flipped(text: str) -> str:
    """The JSON text with one bit changed, and still JSON."""
    for i in range(len(text) - 1, -1, -1):
        changed = text[:i] + chr(ord(text[i]) ^ 1) + text[i + 1 :]
        try:
            if text[i].isalnum() and json.loads(changed) != json.loads(text):
                return changed
        except ValueError:
            continue
    raise AssertionError(f"no bit of {text!r} can be changed")


class PostgresTamper(Tamper):
    network = True

    def __init__(self, url: str, server: PostgresServer) -> None:
        self._url = url
        self._server = server

    def flip_interaction(self, agent_id: str, sequence: int, *, part: Part, namespace: str) -> None:
        column, change = {
            "body": ("body::text", "body = $4::text::json"),
            "id": ("id", "id = $4"),
            "time": ("at_us::text", "at_us = $4::text::bigint"),
        }[part]
        where = "agent_id = $1 AND namespace = $2 AND sequence = $3"
        self._change("oacp.interactions", column, change, where, [agent_id, namespace, sequence], part)

    def flip_state(self, agent_id: str, *, namespace: str) -> None:
        self._flip_document(agent_id, "state", "", namespace)

    def flip_learning_data(self, agent_id: str, key: str, *, namespace: str) -> None:
        self._flip_document(agent_id, "learning", key, namespace)

    def flip_system_state(self, key: str, *, namespace: str) -> None:
        where = "key = $1 AND namespace = $2"
        self._change(
            "oacp.system_state", "body::text", "body = $3::text::json", where, [key, namespace], "body"
        )

    def set_schema_version(self, version: int) -> None:
        self._execute("UPDATE oacp.meta SET schema_version = $1", version)

    def cut_connections(self) -> None:
        self._execute(_OTHERS)

    def stop_server(self) -> None:
        self._server.process.kill()

    def start_server(self) -> None:
        self._server.restart(crash=True)

    def _flip_document(self, agent_id: str, kind: str, key: str, namespace: str) -> None:
        where = "agent_id = $1 AND namespace = $2 AND kind = $3 AND key = $4"
        arguments = [agent_id, namespace, kind, key]
        self._change("oacp.documents", "body::text", "body = $5::text::json", where, arguments, "body")

    def _change(
        self, table: str, column: str, change: str, where: str, arguments: list[Any], part: Part
    ) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(self._url)
            try:
                found = await connection.fetchval(f"SELECT {column} FROM {table} WHERE {where}", *arguments)
                other = flipped(found) if part == "body" else _other(found)
                done = await connection.execute(
                    f"UPDATE {table} SET {change} WHERE {where}", *arguments, other
                )
                assert done == "UPDATE 1", done
            finally:
                await connection.close()

        in_another_loop(run())

    def _execute(self, statement: str, *arguments: Any) -> None:
        in_another_loop(query(self._url, statement, *arguments))


def _other(text: str) -> str:
    return text[:-1] + chr(ord(text[-1]) ^ 1)
