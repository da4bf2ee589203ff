"""Atomic, checksummed files and folders; standard library only, every other room may use it."""
