"""One run from config to store: preparing it, draining its events, what it takes to repeat it."""
