"""The one console for messages and progress, so that lines and bars don't overwrite each other."""

from rich.console import Console

messages = Console(stderr=True)
