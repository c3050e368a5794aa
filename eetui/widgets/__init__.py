"""Widgets: state and keys. The drawing is done by pure renderables."""
