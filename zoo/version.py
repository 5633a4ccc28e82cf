"""The version of the zoo, and of the packages that a number depends on."""

import importlib.metadata
import platform

__version__ = "0.1.0"


def versions(*packages):
    """Name -> version of Python, of the zoo and of the installed `packages`."""
    installed = {package: importlib.metadata.version(package) for package in packages}
    return {"python": platform.python_version(), "generative-zoo": __version__, **installed}
