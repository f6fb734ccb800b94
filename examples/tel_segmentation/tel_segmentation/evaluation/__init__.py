"""From a trained network to metrics, predictions and pictures."""
