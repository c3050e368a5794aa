"""Runs in other people's trackers: one file a tracker, all behind one contract (`eetui.trackers.contract`)."""
