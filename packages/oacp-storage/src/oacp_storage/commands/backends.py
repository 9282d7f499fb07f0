"""``oacp-storage backends``: what is installed, and what is broken."""

from __future__ import annotations

import json
import sys
from typing import Any

from oacp_storage.drivers import advice, missing_driver, missing_module
from oacp_storage.exits import Status
from oacp_storage.parameters import AsJson
from oacp_storage.screen import print_table, table, visible
from oacp_storage_core import (
    ALL_CAPABILITIES,
    BackendInfo,
    BackendLookupError,
    Storage,
    available_backends,
    load_backend,
)


def backends(*, as_json: AsJson = False) -> int:
    """List the storage backends that are installed.

    Each is loaded to see whether it can be used; a broken one is named, with the reason. What more than the end of
    its process acknowledged data survives is for a store to say: see `oacp-storage health`.
    """
    listed = [_describe(info) for info in available_backends()]
    if as_json:
        sys.stdout.write(json.dumps(listed, indent=2) + "\n")
        return Status.OK
    rows = table("backend", "from", "outlives its process", "processes", "capabilities")
    for one in listed:
        names, origin = ", ".join(one["names"]) or "-", f"{one['distribution']} {one['version']}"
        if one["problem"]:
            rows.add_row(visible(names), visible(origin), "", "", "broken, see below")
        else:
            rows.add_row(
                names,
                visible(origin),
                "yes" if one["durable"] else "no",
                "many" if one["multiprocess"] else "one",
                _capabilities(one["capabilities"]),
            )
    print_table(rows)
    for complaint in dict.fromkeys(_complaint(one) for one in listed if one["problem"]):
        sys.stdout.write(f"\nbroken: {visible(' '.join(complaint.split()))}\n")
    return Status.OK


def _complaint(one: dict[str, Any]) -> str:
    """The problem, and whose it is where it does not say so itself."""
    problem, origin = str(one["problem"]), f"{one['distribution']} {one['version']}"
    if origin in problem:
        return problem
    names = f"backend {', '.join(map(repr, one['names']))} of " if one["names"] else ""
    return f"{names}{origin}: {problem}"


def _describe(info: BackendInfo) -> dict[str, Any]:
    described: dict[str, Any] = {
        "names": list(info.names),
        "target": info.target,
        "distribution": info.distribution,
        "version": info.version,
        "problem": info.problem,
    }
    if info.problem is not None:
        return described
    try:
        backend = load_backend(info.names[0])
    except BackendLookupError as exc:
        driver = missing_module(exc)
        return {**described, "problem": str(exc) if driver is None else advice(driver)}
    if driver := missing_driver(info.distribution):
        return {**described, "problem": advice(driver)}
    declared = backend.declares if issubclass(backend, Storage) else frozenset()
    return {
        **described,
        "durable": backend.durable,
        "multiprocess": backend.multiprocess,
        "capabilities": sorted(declared),
    }


def _capabilities(declared: list[str]) -> str:
    missing = sorted(ALL_CAPABILITIES - set(declared))
    if not missing:
        return "all"
    if not declared:
        return "none (the four methods)"
    return f"all but {', '.join(missing)}" if len(missing) <= len(declared) else ", ".join(declared)
