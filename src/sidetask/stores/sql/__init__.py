"""Stores in a database: one set of SQL, for SQLite and Postgres."""
