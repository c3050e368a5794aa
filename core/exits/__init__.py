"""The exit methods: every file here without a leading underscore is one, and offers `EXIT` (`docs/exits.md`)."""
