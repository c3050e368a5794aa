"""Runs side by side: tables, curves, savings, advice, ablation."""
