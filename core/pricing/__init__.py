"""One price for all exits: thresholds, what they give on tokens whose losses are known, and the search for a price."""
