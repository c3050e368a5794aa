"""The experiment: data, model, exits, protocol, store. Knows no screen and prints nothing."""
