"""``typed_options``: a constructor that checks the types of its options, as configuration does."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

_Init = TypeVar("_Init", bound=Callable[..., None])


def typed_options(init: _Init) -> _Init:
    """For the ``__init__`` of a backend: what is given must be of the annotated types.

    A backend that is named in a configuration has its options checked by the registry. Constructed directly it
    would take ``enable_wal_mode="no"`` for true; with this it raises the same ``StorageConfigError``. A number or
    list of another type that means the same (an int for a float) is converted; a text stands for nothing else.
    Arguments that do not fit the signature are a ``TypeError``, as ever.
    """

    @wraps(init)
    def checked(self: object, /, *args: Any, **keywords: Any) -> None:
        from oacp_storage_core.options import checked_arguments

        arguments = checked_arguments(init, type(self).__name__, self, args, keywords)
        init(*arguments.args, **arguments.kwargs)

    return checked  # type: ignore[return-value]  # by wraps it looks and is called as init is
