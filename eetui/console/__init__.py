"""What every screen needs: the bench, the screen base, dialogs, keys, settings, the training thread."""
