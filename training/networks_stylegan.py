"""Official names: the networks of StyleGAN, config a, and functions of their layers, made in `training.nets`."""

from training.nets.layers import minibatch_stddev_layer
from training.nets.stylegan_discriminator import D_basic
from training.nets.stylegan_generator import G_mapping, G_style, G_synthesis
from training.nets.stylegan_layers import (
    blur2d,
    conv2d_downscale2d,
    downscale2d,
    instance_norm,
    leaky_relu,
    pixel_norm,
    upscale2d,
    upscale2d_conv2d,
)
