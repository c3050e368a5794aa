"""One run in words: progress, log lines, profile, details."""
