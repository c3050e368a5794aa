"""The protocol's stages, one file each: generators that yield events and return what the next stage needs."""
