"""The heap: large blocks go back to the system as soon as they are free."""

from __future__ import annotations

import ctypes
import sys

_M_MMAP_THRESHOLD = -3  # from glibc's malloc.h
_LARGE = 1024 * 1024


def give_back_large_blocks() -> None:
    """For the rest of this process, return freed blocks of a mebibyte or more to the system at once.

    glibc maps large blocks one by one, but raises what it calls large to the size of any that is freed: after one
    interaction of 15 MiB it keeps several such blocks for later. Elsewhere than with glibc this does nothing.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(_M_MMAP_THRESHOLD, _LARGE)
