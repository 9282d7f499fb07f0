"""Every SQL statement of the backend stands in this folder."""
