"""The exit status of its own that the suite adds to those of pytest."""

PARTIAL = 6
"""A storage was named on the command line, nothing failed, and not everything was run. pytest's own end with 5."""
