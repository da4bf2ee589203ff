"""From a configuration to stages: keys, parents, stage files, the plan table; free of torch."""
