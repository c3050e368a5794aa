"""One screen a file; what they show is drawn by `eetui.widgets` and `eetui.renderables`."""
