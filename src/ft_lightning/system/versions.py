"""The installed versions of what shapes a result."""

from importlib.metadata import version


def versions() -> dict[str, str]:
    """The installed versions of what shapes a result."""
    packages = ("ft_lightning", "torch", "torchvision", "lightning", "torchmetrics", "timm", "pillow")
    return {package: version(package) for package in packages}
