"""Passes over images: up-sampling, scales and flips, sliding windows, test modes."""
