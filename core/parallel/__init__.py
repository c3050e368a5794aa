"""One run on several processes: who they are, what they add up, and how they part."""
