"""The subcommands of `medvit`, one module each.

A module has a docstring (the help text), `add_arguments(parser)` and `run(args)`, which may return an exit
status. `medvit.cli` lists them.
"""
