"""Checkpoint files, processes, signals and memory: nothing here knows of segmentation."""
