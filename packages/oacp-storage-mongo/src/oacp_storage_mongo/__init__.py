"""oacp-storage-mongo: the MongoDB backend of oacp-storage."""

from __future__ import annotations

from oacp_storage_mongo.storage import MongoStorage

__all__ = ["MongoStorage"]
