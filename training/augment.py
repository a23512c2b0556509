"""Official names: augmentation. It is made in `training.augmentation`."""

from training.augmentation.adaptive import AdaptiveAugment
from training.augmentation.pipeline import AugmentPipe
from training.augmentation.specs import AUGPIPE_SPECS
