"""``Tamper``: a second path into a store, for what no storage would do to itself."""

from __future__ import annotations

from typing import Literal

Part = Literal["body", "id", "time"]
"""What of a stored record to change: its payload, its id, or its time."""


class Tamper:
    """Changes a store behind the storage's back, as failing disks, cut power and other releases do.

    Return an instance from the fixture ``storage_tamper`` of your test class. Override what your store allows;
    each method that is left out makes its tests count as *tamper*, which is never as passed. Every method works on the
    store itself (file, database connection of its own), never through the backend's classes.

    The suite closes all its storages before it calls ``flip_...``, ``tear_tail`` and ``downgrade_schema``; the
    others are called while storages are open. ``namespace`` is the one in which the suite works.
    """

    network: bool = False
    """Whether clients reach the store over connections that can be lost."""

    def flip_interaction(self, agent_id: str, sequence: int, *, part: Part, namespace: str) -> None:
        """Change one bit of that part of the stored interaction and leave its checksum as it is."""
        raise NotImplementedError("flip_interaction")

    def flip_state(self, agent_id: str, *, namespace: str) -> None:
        """Change one bit of the stored body of the agent's state and leave its checksum as it is."""
        raise NotImplementedError("flip_state")

    def flip_learning_data(self, agent_id: str, key: str, *, namespace: str) -> None:
        """Change one bit of the stored body of that learning data and leave its checksum as it is."""
        raise NotImplementedError("flip_learning_data")

    def flip_system_state(self, key: str, *, namespace: str) -> None:
        """Change one bit of the stored body of that system state and leave its checksum as it is."""
        raise NotImplementedError("flip_system_state")

    def tear_tail(self, agent_id: str, *, namespace: str) -> None:
        """Leave the store as a crash in the middle of writing would: with the beginning of one more record.

        What was acknowledged stays whole; behind it, where the agent's next interaction would be written,
        stands an incomplete one.
        """
        raise NotImplementedError("tear_tail")

    def set_schema_version(self, version: int) -> None:
        """Set the schema version that the store carries, and change nothing else."""
        raise NotImplementedError("set_schema_version")

    def downgrade_schema(self) -> int:
        """Bring the store into the form of an older release, its data kept; returns that schema version."""
        raise NotImplementedError("downgrade_schema")

    def cut_connections(self) -> None:
        """End every connection that clients have to the store at this moment; new ones are let in."""
        raise NotImplementedError("cut_connections")

    def stop_server(self) -> None:
        """Make the store unreachable: connections end and new ones are refused, until ``start_server``."""
        raise NotImplementedError("stop_server")

    def start_server(self) -> None:
        """Make the store reachable again, with the data it had."""
        raise NotImplementedError("start_server")
