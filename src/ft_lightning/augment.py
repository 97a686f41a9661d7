"""Random augmentation around a preprocess, for training only."""

from collections.abc import Callable

from PIL.Image import Image
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms.v2 import functional as F

from ft_lightning.readers.preprocess import Preprocess
from ft_lightning.system.errors import UserError
from ft_lightning.system.kinds import Share


def augmentation(
    preprocess: Preprocess, crop_scale: tuple[Share, Share] | None, flip: Share, trivial: bool, erase: Share
) -> Callable[[Image], Tensor]:
    """Build the transform of train images, in place of `preprocess`: RGB image -> uint8 pixels of the same size.

    All random numbers come from torch's global CPU generator. Returns `preprocess` itself if everything is off.

    Args:
        crop_scale: smallest and largest share of the area that a random crop keeps; None for the centre crop.
        flip: probability of a horizontal flip.
        trivial: apply one random operation of random strength (TrivialAugment, Müller & Hutter, 2021).
        erase: probability of painting a random rectangle in the mean colour (Zhong et al., 2017).
    """
    if crop_scale is not None and crop_scale[0] > crop_scale[1]:
        raise UserError(
            f"augment.crop_scale=[{crop_scale[0]},{crop_scale[1]}]: use the smaller share first, such as [0.35,1.0]."
        )
    steps: list[Callable] = []
    if crop_scale is not None:
        interpolation = InterpolationMode(preprocess.interpolation)
        crop = v2.RandomResizedCrop(preprocess.crop, scale=tuple(crop_scale), interpolation=interpolation)
        steps += [crop, F.pil_to_tensor]
    else:
        steps += [preprocess]
    if flip:
        steps += [v2.RandomHorizontalFlip(flip)]
    if trivial:
        steps += [v2.TrivialAugmentWide()]
    if erase:
        steps += [v2.RandomErasing(erase, value=[round(255 * value) for value in preprocess.mean])]
    return preprocess if steps == [preprocess] else v2.Compose(steps)
