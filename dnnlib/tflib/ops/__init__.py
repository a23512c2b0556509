"""Custom ops of StyleGAN2. Import the modules: `from dnnlib.tflib.ops import upfirdn_2d, fused_bias_act`."""
