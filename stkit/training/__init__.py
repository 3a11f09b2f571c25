"""Training by a frame: the schedule that decides, the one loop that obeys, checkpoints."""
