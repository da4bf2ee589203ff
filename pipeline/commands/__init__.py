"""One module per verb of the command line: `add_arguments(parser)` and `execute(arguments) -> exit code`."""
