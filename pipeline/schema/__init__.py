"""What every declared key shares: the strict base class, names that were meant, keys of former versions."""
