"""oacp-storage backend on plain, readable JSON files."""
