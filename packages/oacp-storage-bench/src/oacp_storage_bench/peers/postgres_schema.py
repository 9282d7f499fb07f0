"""A schema of a peer's own, so that its tables touch nobody's and can be dropped."""

from __future__ import annotations

from oacp_storage_bench.place import Place
from oacp_storage_bench.raw.base import driver
from oacp_storage_bench.raw.postgres import durability_of
from oacp_storage_core import Durability


class PostgresSchema:
    """The schema ``name`` of the database, for one peer."""

    def __init__(self, place: Place, slug: str) -> None:
        self._url = place.url
        self.name = f"{place.name}_{slug}"

    async def make(self) -> tuple[Durability, str]:
        """Make it; returns what a commit survives there, and the settings that say so."""
        return await self._run(f"CREATE SCHEMA {self.name}")

    async def drop(self) -> None:
        """Drop it with all that is in it."""
        await self._run(f"DROP SCHEMA IF EXISTS {self.name} CASCADE")

    async def _run(self, statement: str) -> tuple[Durability, str]:
        connection = await driver("asyncpg", "oacp-storage-postgres").connect(self._url)
        try:
            await connection.execute(statement)
            return await durability_of(connection)
        finally:
            await connection.close()


def with_search_path(url: str, schema: str) -> str:
    """The URL, for libpq, of connections whose tables are in the schema."""
    return f"{url}{'&' if '?' in url else '?'}options=-csearch_path%3D{schema}"
