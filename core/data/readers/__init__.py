"""The corpus readers: every file here without a leading underscore is one, and offers `READER` (`docs/corpora.md`)."""
