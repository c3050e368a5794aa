"""Figures for papers and reports, drawn by matplotlib from the data that the screens draw."""
