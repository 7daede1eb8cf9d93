"""The queue on PostgreSQL, shared by many bots and many workers."""
