"""Configuration: YAML files under `config/`, validated completely before anything runs; free of torch."""
