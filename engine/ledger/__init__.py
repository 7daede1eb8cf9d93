"""The record: its tables, its database (a SQLite file or a PostgreSQL server), and how it forgets."""
