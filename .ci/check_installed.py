"""Check one installed distribution, in the environment where it stands alone: ``check_installed.py NAME``.

Every package and module at its top can be imported and each of its entry points loads, so that a requirement
which its metadata forgets to name shows here. It brings its own driver and no other, and ``oacp.storage`` offers the
backends that are there and says of the others what to install.
"""

import sys
from importlib import import_module
from importlib.metadata import Distribution, distribution, distributions

BACKENDS = {
    "FileStorage": ("oacp-storage-file", set()),
    "SQLiteStorage": ("oacp-storage-sqlite", {"aiosqlite"}),
    "PostgreSQLStorage": ("oacp-storage-postgres", {"asyncpg"}),
    "RedisStorage": ("oacp-storage-redis", {"redis"}),
    "MongoStorage": ("oacp-storage-mongo", {"motor", "pymongo"}),
}
"""Each first-party class, with its distribution and the drivers that this alone brings."""


def top_level_names(installed: Distribution) -> set[str]:
    """What the distribution lets people import: its packages, and modules in a folder that is no package."""
    files = [file for file in installed.files or [] if not file.parts[0].endswith(".dist-info")]
    packages = {file.parts[0] for file in files if file.parts[1:] == ("__init__.py",)}
    modules = {
        ".".join(file.with_suffix("").parts)
        for file in files
        if file.suffix == ".py" and len(file.parts) == 2 and file.parts[0] not in packages
    }
    return packages | modules


def drivers_amiss() -> list[str]:
    """Drivers that are missing for a backend that is here, or here for none."""
    here = {one.name for one in distributions()}
    found = []
    for owner, drivers in BACKENDS.values():
        wanted = drivers if owner in here else set()
        found += [f"{driver} is missing, though {owner} is here" for driver in wanted - here]
        found += [f"{driver} is here, though {owner} is not" for driver in (drivers - wanted) & here]
    return found


def classes_amiss() -> list[str]:
    """Classes that ``oacp.storage`` does not offer as it should, where it is installed."""
    here = {one.name for one in distributions()}
    if "oacp-storage-core" not in here:
        return []
    found = []
    for name, (owner, _) in BACKENDS.items():
        try:
            module = getattr(import_module("oacp.storage"), name).__module__
        except ImportError as exc:
            if owner in here or f"pip install {owner}" not in str(exc):
                found.append(f"from oacp.storage import {name}: {exc}")
        else:
            if owner not in here or not module.startswith(owner.replace("-", "_")):
                found.append(f"from oacp.storage import {name} gives that of {module}")
    return found


def main(name: str) -> int:
    """Import all that the distribution ``name`` offers; a failure shows itself as the traceback it is."""
    installed = distribution(name)
    names = top_level_names(installed)
    if not names:
        print(f"{name}: has nothing to import")
        return 1
    for module in sorted(names):
        import_module(module)
    if faults := drivers_amiss() + classes_amiss():
        print("\n".join(f"{name}: {fault}" for fault in faults))
        return 1
    points = list(installed.entry_points)
    for point in points:
        point.load()
    print(f"{name} {installed.version}: imports {', '.join(sorted(names))}; {len(points)} entry points load")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
