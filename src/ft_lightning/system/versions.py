"""The installed versions of what shapes a result."""

from importlib.metadata import PackageNotFoundError, version


def versions() -> dict[str, str]:
    """The installed versions of what shapes a result."""
    packages = ("ft_lightning", "torch", "torchvision", "lightning", "torchmetrics", "timm", "pillow")
    return {package: _version(package) for package in packages}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:  # such as this one, after it was renamed
        return "not installed"
