"""Data sets, in files or generated: their annotations, samples and batches."""
