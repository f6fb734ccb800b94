"""The training loop, its state, and the files that a run writes into its folder."""
