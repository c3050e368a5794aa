"""After a run: what its stored tokens and events say about exits, thresholds and losses."""
