"""The installed versions of the packages that shape a result."""

import functools
from importlib.metadata import PackageNotFoundError, version


def versions() -> dict[str, str]:
    """Return the installed version of each package that shapes a result."""
    libraries = ["torch", "torchvision", "lightning", "torchmetrics", "timm", "pillow"]
    libraries += ["transformers", "tokenizers", "jinja2"]  # of texts; jinja2 renders chat templates
    return {package: _version(package) for package in ("ft_lightning", *libraries)}


@functools.cache
def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # for example this package after a rename
        return "not installed"
