"""Check what stands in an environment with PyPI's ``oacp``: ``check_beside_oacp.py both|ours|theirs``.

That package has an import path ``oacp.storage`` too. Where both are installed, in whatever order, its own wins, every
file of both is as its wheel brought it, and ``oacp_storage_core`` works; where one was removed, the other is whole.
"""

import asyncio
import base64
import hashlib
import sys
from importlib import import_module
from importlib.metadata import distributions
from tempfile import TemporaryDirectory


def changed_files(name: str) -> list[str]:
    """Files of the distributions whose names begin so that are missing, or not as they were installed."""
    found = []
    for one in distributions():
        if one.name.lower() == name or one.name.startswith(f"{name}-"):
            for file in one.files or []:
                path = file.locate()
                if file.hash is None:
                    continue
                if not path.is_file():  # type: ignore[attr-defined]  # typed as less than the path that it is
                    found.append(f"{one.name}: {file} is missing")
                    continue
                digest = hashlib.new(file.hash.mode, file.read_binary()).digest()
                if base64.urlsafe_b64encode(digest).rstrip(b"=").decode() != file.hash.value:
                    found.append(f"{one.name}: {file} was changed")
    return found


def installed(name: str) -> bool:
    """Whether a distribution of that name is installed."""
    return any(one.name.lower() == name for one in distributions())


async def read_back() -> list[object]:
    """What comes back of an interaction that is stored by the name that always works."""
    core = import_module("oacp_storage_core")
    with TemporaryDirectory() as directory:
        async with core.open_storage(f"file://{directory}/data") as storage:
            await storage.store_interaction("ann", {"n": 1})
            return list(await storage.get_interactions("ann"))


def main(state: str) -> int:
    """Print what is wrong; return the exit status."""
    ours, theirs = state in {"both", "ours"}, state in {"both", "theirs"}
    found = changed_files("oacp")
    for name, expected in (("oacp", theirs), ("oacp-storage-core", ours), ("oacp-storage-file", ours)):
        if installed(name) != expected:
            found.append(f"{name} is {'not ' if expected else ''}installed")
    module = import_module("oacp.storage").FileStorage.__module__
    if module.startswith("oacp_storage_file") == theirs:
        found.append(f"oacp.storage.FileStorage is that of {module}")
    if theirs:
        import_module("oacp")
    if ours and (back := asyncio.run(read_back())) != [{"n": 1}]:
        found.append(f"oacp_storage_core gives back {back}")
    for fault in found:
        print(fault)
    print(f"beside oacp, {state}: oacp.storage.FileStorage is that of {module}; {len(found)} faults")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
