"""Checkpoint files, processes, signals and memory: what does not depend on segmentation."""
