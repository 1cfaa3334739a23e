"""Not there, in a default install."""

raise ModuleNotFoundError(f"No module named {__name__!r}", name=__name__)
