"""Official names: the networks of StyleGAN2, and functions of their layers, made in `training.nets`."""

from dnnlib.tflib.ops.upfirdn_2d import downsample_2d, upsample_2d
from training.nets.layers import minibatch_stddev_layer
from training.nets.stylegan2_discriminator import D_stylegan, D_stylegan2
from training.nets.stylegan2_generator import G_main, G_mapping, naive_downsample_2d, naive_upsample_2d
from training.nets.stylegan2_synthesis import G_synthesis_stylegan2, G_synthesis_stylegan_revised
