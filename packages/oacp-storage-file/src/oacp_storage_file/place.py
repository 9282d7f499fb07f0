"""The place: a directory that is empty or ours, claimed before anything is written into it."""

from __future__ import annotations

import os

from oacp_storage_core import StorageConfigError
from oacp_storage_file.disk import Disk, make_directories, replace_file
from oacp_storage_file.layout import GITIGNORE, README, Layout

_OTHERS = frozenset({".git", ".gitattributes", ".gitignore", ".gitkeep", ".DS_Store", "lost+found"})
"""What may stand in a directory that is otherwise empty."""


def claim_directory(disk: Disk, layout: Layout) -> None:
    """Make the directory where it is missing; ``StorageConfigError`` when it cannot be a store of ours."""
    try:
        _make_root(disk, layout)
        _refuse_foreign(layout)
        for path in (layout.internal, layout.temporary, layout.trash, layout.namespaces):
            make_directories(disk, path)
        if not os.access(layout.internal, os.W_OK):
            raise PermissionError(f"{layout.internal} is not writable")
    except StorageConfigError:
        raise
    except NotADirectoryError as exc:
        raise StorageConfigError(f"{layout.root} is not a directory: name another path") from exc
    except OSError as exc:
        raise StorageConfigError(
            f"the directory {layout.root} cannot be used ({exc.strerror or exc}): make it writable for this "
            "user, or name another one"
        ) from exc


def is_missing(layout: Layout) -> bool:
    """Whether there is no directory, or an empty one; what else may be wrong with it, opening it tells."""
    try:
        return not set(os.listdir(layout.root)) - _OTHERS
    except FileNotFoundError:
        return True
    except OSError:
        return False


def write_guides(disk: Disk, layout: Layout) -> None:
    """Write README and .gitignore where they are missing."""
    for path, text in ((layout.readme, README), (layout.gitignore, GITIGNORE)):
        if not os.path.exists(path):
            replace_file(disk, path, f"{layout.temporary}/guide", text.encode())


def _make_root(disk: Disk, layout: Layout) -> None:
    made = make_directories(disk, layout.root)
    for path in made:
        disk.sync_directory(os.path.dirname(path))
    if not made and not os.path.isdir(layout.root):
        raise NotADirectoryError(layout.root)


def _refuse_foreign(layout: Layout) -> None:
    present = set(os.listdir(layout.root))
    if os.path.basename(layout.format_file) in present:
        return
    foreign = present - _OTHERS - {os.path.basename(layout.internal), os.path.basename(layout.namespaces)}
    if foreign or (present - _OTHERS and os.path.basename(layout.internal) not in present):
        raise StorageConfigError(
            f"{layout.root} is not empty and no store of oacp-storage-file (it holds "
            f"{', '.join(sorted(foreign)[:3]) or os.path.basename(layout.namespaces)}): name an empty or new "
            "directory"
        )
