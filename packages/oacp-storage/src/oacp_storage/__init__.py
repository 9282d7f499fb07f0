"""Durable memory for AI agents behind one async interface: files, SQLite, PostgreSQL, Redis or MongoDB."""
