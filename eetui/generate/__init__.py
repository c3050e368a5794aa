"""The Generate screen: a model writes, each token shown by the block it left at."""
