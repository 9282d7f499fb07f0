"""Raw parts, by the kind of store: the bare drivers that figures are compared with."""

from __future__ import annotations

from oacp_storage_bench.place import Place
from oacp_storage_bench.raw.base import Entry, Raw, Unavailable
from oacp_storage_bench.raw.file import RawFile
from oacp_storage_bench.raw.mongo import RawMongo
from oacp_storage_bench.raw.postgres import RawPostgres
from oacp_storage_bench.raw.redis import RawRedis
from oacp_storage_bench.raw.sqlite import RawAiosqlite, RawSqlite

__all__ = ["Entry", "Raw", "Unavailable", "raws_of"]

RAWS: dict[str, tuple[type[Raw], ...]] = {
    "file": (RawFile,),
    "sqlite": (RawSqlite, RawAiosqlite),
    "postgres": (RawPostgres,),
    "redis": (RawRedis,),
    "mongo": (RawMongo,),
}


def raws_of(place: Place) -> list[Raw]:
    """The raw parts for that kind of store, not yet opened; none for a kind that is not known."""
    return [raw(place) for raw in RAWS.get(place.family, ())]
