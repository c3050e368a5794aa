"""The stages of the protocol, one file each: generators that yield events and return what the next stage needs."""
