"""From scores of windows to sounds that start and stop."""
