"""The consent as it is shipped; a study may have its own beside its study.toml."""
