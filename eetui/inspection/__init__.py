"""The Inspect screen: thresholds, tokens, signal quality and diagnosis of one run."""
