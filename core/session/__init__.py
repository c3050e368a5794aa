"""One run from config to store: its plan, its preparation, its events, and the record to reproduce it."""
