"""Turn pages into works, and works into blocks of tokens."""
