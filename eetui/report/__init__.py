"""Reports: one page about an experiment, as HTML or Markdown."""
