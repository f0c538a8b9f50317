"""The software's version, as the installed distribution says."""

from importlib.metadata import version

VERSION = version("reloop")
