"""The processes of the engine: the owner of a data folder, its clients, and one of many on PostgreSQL."""
