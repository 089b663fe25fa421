"""Postil: a pull-request reviewer that a team hosts itself."""

__version__ = "0.1.0"
