"""oacp-storage backend on SQLite."""
