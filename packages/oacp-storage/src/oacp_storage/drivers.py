"""Python packages that are not installed, and the command that installs each."""

from __future__ import annotations

from importlib.util import find_spec

_EXTRAS = {"asyncpg": "postgres", "redis": "redis", "pymongo": "mongo", "bson": "mongo"}
_DRIVERS = {
    "oacp-storage-postgres": "asyncpg",
    "oacp-storage-redis": "redis",
    "oacp-storage-mongo": "pymongo",
}


def advice(module: str) -> str:
    """What to say when this module cannot be imported because it is not there."""
    package = module.partition(".")[0]
    extra = _EXTRAS.get(package)
    what = package if extra is None else f'"oacp-storage[{extra}]"'
    return f"the Python package {package!r} is not installed; install it with: pip install {what}"


def missing_module(error: BaseException) -> str | None:
    """The module that was not there: that of the error itself, or a backend's driver among its causes."""
    if isinstance(error, ModuleNotFoundError):
        return error.name
    cause: BaseException | None = error
    seen = set()
    while cause is not None and id(cause) not in seen:
        seen.add(id(cause))
        if isinstance(cause, ModuleNotFoundError) and (cause.name or "").partition(".")[0] in _EXTRAS:
            return cause.name
        cause = cause.__cause__ or cause.__context__
    return None


def missing_driver(distribution: str) -> str | None:
    """The driver that a backend of ours needs and that is not installed."""
    driver = _DRIVERS.get(distribution)
    return driver if driver is not None and find_spec(driver) is None else None
