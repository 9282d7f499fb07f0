"""``PostgreSQLStorage``: the class that users name, with its options."""

from __future__ import annotations

import ssl as tls
from typing import TYPE_CHECKING, Any, ClassVar, Self

from oacp_storage_core import (
    ALL_CAPABILITIES,
    Capability,
    StorageConfigError,
    redact_url,
    typed_options,
)
from oacp_storage_engine import EngineStorage
from oacp_storage_postgres.dsn import PARTS, dsn_settings, with_parts
from oacp_storage_postgres.staleness import FreshIterator, reads_freshly

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from oacp_storage_core import Damage, Interaction
    from oacp_storage_engine import Engine

MISSING_DRIVER = "the driver of PostgreSQL, asyncpg, is not installed: pip install oacp-storage-postgres"
_LONGEST_SECONDS = 540.0  # less than receipts are kept: see DROP_OLD_RECEIPTS


class PostgreSQLStorage(EngineStorage):
    """Keeps everything in PostgreSQL 13 or later, for any number of tasks, processes and machines.

    **Options.**

    - ``connection_string``: ``postgresql://user:password@host:5432/database``, several hosts with commas too, of which
      the primary is taken. What stands in its query is the driver's, for example ``?sslmode=verify-full``.
    - ``host``, ``port``, ``database``, ``user``, ``password``: instead of a connection string. What is not given comes
      from the usual PG* environment variables.
    - ``pool_size``, ``max_overflow``: up to so many connections together are opened as they are needed. Those beyond
      ``pool_size`` are closed when they were idle for a minute. Calls that find all of them in use wait until their
      ``timeout``; reads leave the last three to writes, or in a small pool all but one.
    - ``enable_json_indexing``: keep a GIN index over the interactions that ``where=`` uses. A filled store gets it by a
      command first; see the README.
    - ``partition_by_date``: keep the interactions in partitions by the month of their commit.
    - ``pgbouncer``: go through a pooler in transaction mode; watching then polls.
    - ``read_connection_string``: a replica, for the reads inside ``with stale_reads():``.
    - ``ssl``: ``True``, a mode such as ``"verify-full"``, or an ``ssl.SSLContext``.
    - ``application_name``: as shown in ``pg_stat_activity``.
    - ``connect_timeout``: seconds for making one connection.
    - ``namespace``, ``coerce``, ``timeout``: as in ``EngineStorage``. A moment after ``timeout`` the server ends a
      statement that still goes on (``statement_timeout``), unless the connection string says otherwise.
    """

    declares: ClassVar[frozenset[Capability]] = ALL_CAPABILITIES

    @typed_options
    def __init__(
        self,
        connection_string: str | None = None,
        *,
        host: str | None = None,
        port: int | None = None,
        database: str | None = None,
        user: str | None = None,
        password: str | None = None,
        pool_size: int = 20,
        max_overflow: int = 30,
        enable_json_indexing: bool = False,
        partition_by_date: bool = False,
        pgbouncer: bool = False,
        read_connection_string: str | None = None,
        ssl: bool | str | tls.SSLContext | None = None,
        application_name: str = "oacp-storage",
        connect_timeout: float = 10.0,
        namespace: str = "default",
        coerce: bool = False,
        timeout: float = 30.0,
    ) -> None:
        parts = {"host": host, "port": port, "database": database, "user": user, "password": password}
        given = {name: value for name, value in parts.items() if value is not None}
        if connection_string is not None and given:
            raise StorageConfigError(f"give connection_string or {', '.join(given)}, not both")
        if pool_size < 1 or max_overflow < 0:
            raise StorageConfigError("pool_size must be at least 1 and max_overflow at least 0")
        if not connect_timeout > 0:
            raise StorageConfigError(
                f"connect_timeout must be a positive number of seconds, not {connect_timeout!r}"
            )
        if timeout > _LONGEST_SECONDS:
            raise StorageConfigError(
                f"timeout must be at most {_LONGEST_SECONDS:.0f} seconds, not {timeout!r}: what keeps a write that is "
                "sent again from happening twice is remembered for ten minutes"
            )
        common = {
            "ssl": ssl,
            "timeout": connect_timeout,
            "server_settings": {"application_name": application_name},
        }
        if connection_string is not None:
            given = dsn_settings(connection_string, "connection_string", writing=True)
        self._settings = {**common, **given}
        self._replica_settings = (
            {**common, **dsn_settings(read_connection_string, "read_connection_string", writing=False)}
            if read_connection_string
            else None
        )
        self._place = redact_url(connection_string) if connection_string else _shown(given)
        self._engine_options: dict[str, Any] = {
            "json_indexing": enable_json_indexing,
            "partition": partition_by_date,
            "listen": not pgbouncer,
        }
        self._pool_options: dict[str, Any] = {
            "kept": pool_size,
            "extra": max_overflow,
            "timeout": timeout,
            "pgbouncer": pgbouncer,
        }
        self._timeout = timeout
        super().__init__(namespace=namespace, coerce=coerce, timeout=timeout)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """The storage of a URL; what is no option of ours stays in it for the driver.

        The parts of the address may be options, as in ``postgresql:///oacp?host=/tmp``, where the URL leaves them out.
        """
        if "connection_string" in options:
            raise StorageConfigError(
                "the URL names the server already; leave out the option connection_string"
            )
        parts = {name: options.pop(name) for name in PARTS if options.get(name) is not None}
        return cls(with_parts(url, parts), **options)

    # What these decide by must be up to date. mypy would have them be methods of any Storage, as in the base class.
    record_turn = reads_freshly(EngineStorage.record_turn)  # type: ignore[arg-type]
    delete_interactions = reads_freshly(EngineStorage.delete_interactions)  # type: ignore[arg-type]

    def verify(self) -> AsyncIterator[Damage]:
        return FreshIterator(super().verify())

    def watch_interactions(self, agent_id: str, *, after: int | None = None) -> AsyncIterator[Interaction]:
        return FreshIterator(super().watch_interactions(agent_id, after=after))

    def _make_engine(self) -> Engine:
        try:
            import asyncpg  # noqa: F401 - whether it is there, before ours are asked for
        except ModuleNotFoundError as exc:
            raise StorageConfigError(MISSING_DRIVER) from exc
        from oacp_storage_postgres.connections import Connections
        from oacp_storage_postgres.engine import PostgresEngine
        from oacp_storage_postgres.replica import Replica

        replica = None
        if self._replica_settings is not None:
            connections = Connections(
                self._replica_settings, place="read_connection_string", **self._pool_options
            )
            replica = Replica(connections, self._timeout)
        return PostgresEngine(
            Connections(self._settings, place=self._place, **self._pool_options),
            replica,
            self.namespace,
            **self._engine_options,
        )


def _shown(given: dict[str, Any]) -> str:
    """Where the parts lead, without the password."""
    place = str(given.get("host", "the host of PGHOST, or localhost"))
    place += f":{given['port']}" if "port" in given else ""
    return place + (f", database {given['database']}" if "database" in given else "")
