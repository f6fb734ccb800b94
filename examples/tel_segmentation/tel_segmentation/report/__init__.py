"""A set of runs as one HTML page and as Markdown tables."""
