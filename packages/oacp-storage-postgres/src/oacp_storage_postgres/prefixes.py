"""Names that begin with a prefix, as a range of an index: from the prefix itself to before what follows all of them."""

from __future__ import annotations

_LAST = "\U0010ffff"
_SURROGATES = range(0xD800, 0xE000)  # no name has them
_BEYOND_ALL = _LAST * 129  # a name has at most 512 bytes, and this character has four


def after_prefix(prefix: str) -> str:
    """The first text, by code point, after all names that begin with the prefix."""
    shortened = prefix.rstrip(_LAST)
    if not shortened:
        return _BEYOND_ALL
    following = ord(shortened[-1]) + 1
    return shortened[:-1] + chr(_SURROGATES.stop if following in _SURROGATES else following)
