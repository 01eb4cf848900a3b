"""The ``thor`` command.

Modules here import what is heavy inside their commands, so that ``thor --help`` and shell completion answer at once.
"""

from thor_ray.cli.app import main

__all__ = ["main"]
