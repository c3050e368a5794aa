"""What runs hold, as files for other programs: tables of tokens and of events, Parquet or CSV."""
