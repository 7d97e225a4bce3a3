"""The version of this package."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version


def package_version() -> str:
    """The installed package's version; `unknown` in a checkout that isn't installed."""
    try:
        return version("potoserver")
    except PackageNotFoundError:
        return "unknown"
