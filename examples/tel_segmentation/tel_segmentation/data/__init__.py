"""From files or generated scenes to samples and batches."""
