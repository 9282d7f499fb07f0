"""Upgrades: how stores of older schema versions become ones of the present version."""

from __future__ import annotations

from collections.abc import Mapping

from oacp_storage_file.disk import Disk, replace_file
from oacp_storage_file.format_mark import Upgrade
from oacp_storage_file.inventory import take_inventory
from oacp_storage_file.layout import README, Layout


def add_manifests(disk: Disk, layout: Layout) -> None:
    """Version 2: manifests say what must be there. They begin with what is there now."""
    take_inventory(disk, layout, f"{layout.temporary}/manifest")
    replace_file(disk, layout.readme, f"{layout.temporary}/guide", README.encode())


UPGRADES: Mapping[int, Upgrade] = {2: add_manifests}
"""``UPGRADES[n]`` brings a store from version n-1 to n."""
