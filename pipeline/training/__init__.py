"""The one training loop, its state and checkpoints, interruption, devices, progress and metrics log."""
