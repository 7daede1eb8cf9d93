"""The engine's processes: the owner of a data folder, its clients, and one of many on PostgreSQL."""
