"""``oacp.storage``: everything public of oacp-storage-core, and the first-party backends, loaded when asked for.

A backend's class needs its own distribution; where that is missing, asking for the class raises an
``ImportError`` that says what to install. ``oacp_storage_core`` is the name that always works.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # What is not installed is Any to a type checker; that it is missing is said when it is asked for.
    import oacp_storage_core
    from oacp_storage_core import *  # noqa: F403 - the same names, listed in one place
    from oacp_storage_file import FileStorage
    from oacp_storage_mongo import MongoStorage  # type: ignore[import-not-found,unused-ignore]
    from oacp_storage_postgres import PostgreSQLStorage  # type: ignore[import-not-found,unused-ignore]
    from oacp_storage_redis import RedisStorage  # type: ignore[import-not-found,unused-ignore]
    from oacp_storage_sqlite import SQLiteStorage

    __all__ = ["FileStorage", "MongoStorage", "PostgreSQLStorage", "RedisStorage", "SQLiteStorage"]
    __all__ += oacp_storage_core.__all__
else:
    from importlib import import_module
    from importlib.util import find_spec

    import oacp_storage_core

    _BACKENDS = {
        "FileStorage": "oacp_storage_file",
        "MongoStorage": "oacp_storage_mongo",
        "PostgreSQLStorage": "oacp_storage_postgres",
        "RedisStorage": "oacp_storage_redis",
        "SQLiteStorage": "oacp_storage_sqlite",
    }

    def __getattr__(name):
        if name == "__all__":
            return __dir__()
        if name in _BACKENDS:
            return getattr(_module(name), name)
        if name in oacp_storage_core.__all__:
            return getattr(oacp_storage_core, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

    def __dir__():
        installed = [name for name, module in _BACKENDS.items() if find_spec(module) is not None]
        return sorted([*oacp_storage_core.__all__, *installed])

    def _module(name):
        module = _BACKENDS[name]
        try:
            return import_module(module)
        except ModuleNotFoundError as exc:
            if exc.name != module:  # it is there, but lacks something itself
                raise
            raise ImportError(
                f"{name} is not installed; install it with: pip install {module.replace('_', '-')}",
                name=module,
            ) from None
