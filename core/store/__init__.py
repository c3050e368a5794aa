"""Runs in SQLite: `schema` (migrations), `writer` (one per training process), `reader` (any number), `codec`."""
