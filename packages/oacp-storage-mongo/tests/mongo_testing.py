"""What these tests share: a proxy in front of a server, and names of their own."""

from __future__ import annotations

import pytest

from oacp_storage_conformance.servers import Proxy

# It leaves a socket and its transport to the garbage collector when it is closed, or cut off, while it connects.
# That what is ours is closed is shown in test_mongo_endings.
sockets_left_by_pymongo = pytest.mark.filterwarnings("ignore:unclosed (<socket|transport):ResourceWarning")


class MongoProxy(Proxy):
    """In front of one member of a replica set."""

    @property
    def url(self) -> str:
        """The server behind it, without asking it for the other members of its set."""
        return f"mongodb://127.0.0.1:{self.port}/?directConnection=true"


def name_of(request: pytest.FixtureRequest) -> str:
    """The test's name as a namespace or the name of a database; its end, where the parameters are."""
    return "".join(c if c.isalnum() else "-" for c in request.node.name.lower())[-60:]
