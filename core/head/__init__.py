"""The output head: its loss and per-token statistics, without a logit matrix in memory."""
