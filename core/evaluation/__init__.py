"""Measuring a trained model: passes over the evaluation split, savings, timing."""
