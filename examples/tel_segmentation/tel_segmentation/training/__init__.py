"""The training loop, its state, and what a run leaves in its folder."""
