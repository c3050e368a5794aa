"""The New screen: a config as a form, with names, plan and estimate."""
