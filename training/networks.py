"""Official names: the networks of StyleGAN2-ADA. They are made in `training.nets.stylegan2_ada`."""

from training.nets.stylegan2_ada import D_main, G_main, G_mapping, G_synthesis
