"""``MongoStorage``: what applications hold, with the options."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, Self

from oacp_storage_core import ALL_CAPABILITIES, Capability, StorageConfigError, typed_options
from oacp_storage_engine import EngineStorage

if TYPE_CHECKING:
    from oacp_storage_engine import Engine
    from oacp_storage_mongo.address import Address


class MongoStorage(EngineStorage):
    """Keeps everything in MongoDB 5.0 or later, for any number of tasks, processes and machines.

    The server has to be a replica set (of one member at least) or a sharded cluster; a standalone one is refused.

    **Options.**

    - ``mongo_url``: ``mongodb://[user:password@]host:27017,host:27017/database?replicaSet=rs0`` or
      ``mongodb+srv://host/database``. What stands in its query is the driver's, for example ``?tlsCAFile=/etc/ca.pem``.
    - ``database``: instead of that in the URL; ``oacp`` where neither names one. It must have no collections of others.
    - ``username``, ``password``: instead of those in the URL.
    - ``driver``: ``motor``, or ``pymongo`` for PyMongo's own asynchronous client.
    - ``pool_size``: how many connections reads may use at once; others wait. Writes have a few more.
    - ``connect_timeout``: seconds to look for a server that takes writes. ``response_timeout``: seconds after which a
      server that does not answer is given up. The call goes on until its own ``timeout``.
    - ``namespace``, ``coerce``, ``timeout``: as in ``EngineStorage``.

    **Durability.** Every write waits until a majority of the members has it in its journal, and every read sees what a
    majority has, whatever the URL says: one that asks for less is refused.
    """

    declares: ClassVar[frozenset[Capability]] = ALL_CAPABILITIES

    @typed_options
    def __init__(
        self,
        mongo_url: str = "mongodb://localhost:27017",
        *,
        database: str | None = None,
        username: str | None = None,
        password: str | None = None,
        driver: Literal["motor", "pymongo"] = "motor",
        pool_size: int = 20,
        connect_timeout: float = 5.0,
        response_timeout: float = 10.0,
        namespace: str = "default",
        coerce: bool = False,
        timeout: float = 30.0,
    ) -> None:
        if pool_size < 1:
            raise StorageConfigError(f"pool_size must be at least 1, not {pool_size}")
        for name, seconds in (("connect_timeout", connect_timeout), ("response_timeout", response_timeout)):
            if not seconds > 0:
                raise StorageConfigError(f"{name} must be a positive number of seconds, not {seconds!r}")
        self._address = _parsed(
            mongo_url,
            database=database,
            username=username,
            password=password,
            driver_name=driver,
            connect_timeout=connect_timeout,
            response_timeout=response_timeout,
        )
        self._pool_size = pool_size
        super().__init__(namespace=namespace, coerce=coerce, timeout=timeout)

    @classmethod
    def from_url(cls, url: str, **options: Any) -> Self:
        """The storage of a URL; what is no option of ours stays in it for the driver."""
        if "mongo_url" in options:
            raise StorageConfigError("the URL names the server already; leave out the option mongo_url")
        return cls(url, **options)

    def _make_engine(self) -> Engine:
        from oacp_storage_mongo.engine import MongoEngine

        return MongoEngine(self._address, self.namespace, pool_size=self._pool_size)


def _parsed(url: str, **options: Any) -> Address:
    """``parse_address``, which needs the driver."""
    try:
        from oacp_storage_mongo.address import parse_address
    except ModuleNotFoundError as exc:
        raise StorageConfigError(
            f"MongoDB's driver is not installed (no module {exc.name!r}): pip install oacp-storage-mongo"
        ) from exc
    return parse_address(url, **options)
