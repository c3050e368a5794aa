"""The Runs screen: list, filter, preview and actions."""
