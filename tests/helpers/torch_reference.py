"""What networks of rosinality/stylegan2-pytorch compute, in NumPy, by the names in their state dicts.

Written from the definition of that layout, with PyTorch's conventions: images and feature maps are `[N, C, H, W]`,
kernels `[out, in, k, k]`, those of transposed convolutions `[in, out, k, k]`. It shares nothing with our layers.
"""

import numpy as np

# ----------------------------------------------------------------------------
# Operations.


def conv2d(x, w, stride=1, padding=0):
    """Slides the kernel over the image."""
    x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    size = w.shape[2]
    height, width = ((n - size) // stride + 1 for n in x.shape[2:])
    y = np.zeros([x.shape[0], w.shape[0], height, width], x.dtype)
    for i in range(size):
        for j in range(size):
            part = x[:, :, i : i + stride * height : stride, j : j + stride * width : stride]
            y += np.einsum("nihw,oi->nohw", part, w[:, :, i, j])
    return y


def conv_transpose2d(x, w, stride):
    """Each pixel adds the kernel to the image, times its value."""
    size = w.shape[2]
    height, width = x.shape[2:]
    y = np.zeros([x.shape[0], w.shape[1], (height - 1) * stride + size, (width - 1) * stride + size], x.dtype)
    for i in range(size):
        for j in range(size):
            y[:, :, i : i + stride * height : stride, j : j + stride * width : stride] += np.einsum(
                "nihw,io->nohw", x, w[:, :, i, j]
            )
    return y


def upfirdn2d(x, kernel, up=1, down=1, pad=(0, 0)):
    """Zeros after each pixel, padding, convolution (a mirrored kernel slides), every n-th pixel."""
    n, c, height, width = x.shape
    spread = np.zeros([n, c, height * up, width * up], x.dtype)
    spread[:, :, ::up, ::up] = x
    before, after = pad
    spread = np.pad(spread, [(0, 0), (0, 0), *[(max(before, 0), max(after, 0))] * 2])
    first = [max(-before, 0)] * 2
    last = [size - max(-after, 0) for size in spread.shape[2:]]
    spread = spread[:, :, first[0] : last[0], first[1] : last[1]]
    one_by_one = conv2d(spread.reshape(-1, 1, *spread.shape[2:]), kernel[::-1, ::-1][np.newaxis, np.newaxis])
    return one_by_one.reshape(n, c, *one_by_one.shape[2:])[:, :, ::down, ::down]


def leaky_relu(x):
    return np.where(x < 0, 0.2 * x, x) * np.sqrt(2.0)


def linear(p, name, x, lr_mul=1.0, activate=False):
    """EqualLinear."""
    weight = p[f"{name}.weight"]
    y = x @ (weight.T * lr_mul / np.sqrt(weight.shape[1])) + p[f"{name}.bias"] * lr_mul
    return leaky_relu(y) if activate else y


# ----------------------------------------------------------------------------
# The generator.


def normalize(x):
    return x / np.sqrt(np.mean(x**2, axis=1, keepdims=True) + 1e-8)


def mapping(p, z, labels=None, prefix="style."):
    """Z `[N, C]`, or None, to W `[N, C]`. labels: in NVIDIA's networks, whose embedding is layer 0."""
    parts = [] if z is None else [normalize(z)]
    if labels is not None:
        parts.append(normalize(linear(p, f"{prefix}0", labels)))
    x = np.concatenate(parts, axis=1)
    idx = 1
    while f"{prefix}{idx}.weight" in p:
        x = linear(p, f"{prefix}{idx}", x, lr_mul=0.01, activate=True)
        idx += 1
    return x


def modulated_conv(p, name, x, w, up=False, demodulate=True):
    """ModulatedConv2d, one sample after the other."""
    weight = p[f"{name}.weight"][0]
    size = weight.shape[2]
    styles = linear(p, f"{name}.modulation", w)
    results = []
    for sample, style in zip(x, styles, strict=True):
        scaled = weight * style[np.newaxis, :, np.newaxis, np.newaxis] / np.sqrt(weight[0].size)
        if demodulate:
            scaled = scaled / np.sqrt(np.sum(scaled**2, axis=(1, 2, 3), keepdims=True) + 1e-8)
        if up:
            kernel = p[f"{name}.blur.kernel"]
            extra = (len(kernel) - 2) - (size - 1)
            y = conv_transpose2d(sample[np.newaxis], scaled.transpose(1, 0, 2, 3), stride=2)
            results.append(upfirdn2d(y, kernel, pad=((extra + 1) // 2 + 1, extra // 2 + 1)))
        else:
            results.append(conv2d(sample[np.newaxis], scaled, padding=size // 2))
    return np.concatenate(results)


def styled_conv(p, name, x, w, noise, up=False):
    x = modulated_conv(p, f"{name}.conv", x, w, up)
    x = x + p[f"{name}.noise.weight"] * noise
    return leaky_relu(x + p[f"{name}.activate.bias"][:, np.newaxis, np.newaxis])


def to_rgb(p, name, x, w, skip):
    y = modulated_conv(p, f"{name}.conv", x, w, demodulate=False) + p[f"{name}.bias"]
    if skip is None:
        return y
    kernel = p[f"{name}.upsample.kernel"]
    extra = len(kernel) - 2
    return y + upfirdn2d(skip, kernel, up=2, pad=((extra + 1) // 2 + 1, extra // 2))


def generate(p, w):
    """W `[N, C]` to images, with the noise of the file."""
    p = {name: np.asarray(x, np.float64) for name, x in p.items()}
    w = np.asarray(w, np.float64)
    x = np.repeat(p["input.input"], len(w), axis=0)
    x = styled_conv(p, "conv1", x, w, p["noises.noise_0"])
    image = to_rgb(p, "to_rgb1", x, w, None)
    idx = 0
    while f"to_rgbs.{idx}.bias" in p:
        x = styled_conv(p, f"convs.{2 * idx}", x, w, p[f"noises.noise_{2 * idx + 1}"], up=True)
        x = styled_conv(p, f"convs.{2 * idx + 1}", x, w, p[f"noises.noise_{2 * idx + 2}"])
        image = to_rgb(p, f"to_rgbs.{idx}", x, w, image)
        idx += 1
    return image


# ----------------------------------------------------------------------------
# The discriminator.


def conv_layer(p, name, x, size, down=False, activate=True):
    """ConvLayer: (blur), convolution, activation."""
    first = 1 if down else 0
    weight = p[f"{name}.{first}.weight"]
    weight = weight / np.sqrt(weight[0].size)
    if down:
        kernel = p[f"{name}.0.kernel"]
        extra = (len(kernel) - 2) + (size - 1)
        x = conv2d(upfirdn2d(x, kernel, pad=((extra + 1) // 2, extra // 2)), weight, stride=2)
    else:
        x = conv2d(x, weight, padding=size // 2)
    return leaky_relu(x + p[f"{name}.{first + 1}.bias"][:, np.newaxis, np.newaxis]) if activate else x


def discriminate(p, images, group_size=4, mapped=None):
    """Images to scores `[N, 1]`. mapped: of labels, `[N, C]`, for NVIDIA's networks, which score by projection."""
    p = {name: np.asarray(x, np.float64) for name, x in p.items()}
    x = conv_layer(p, "convs.0", np.asarray(images, np.float64), 1)
    idx = 1
    while f"convs.{idx}.conv1.0.weight" in p:
        y = conv_layer(p, f"convs.{idx}.conv2", conv_layer(p, f"convs.{idx}.conv1", x, 3), 3, down=True)
        skip = conv_layer(p, f"convs.{idx}.skip", x, 1, down=True, activate=False)
        x = (y + skip) / np.sqrt(2.0)
        idx += 1
    batch, channels, height, width = x.shape
    group = min(batch, group_size)
    stddev = x.reshape(group, -1, 1, channels, height, width)
    stddev = np.sqrt(stddev.var(axis=0) + 1e-8).mean(axis=(2, 3, 4), keepdims=True)[:, :, 0]  # [N / group, 1, 1, 1]
    x = np.concatenate([x, np.tile(stddev, [group, 1, height, width])], axis=1)
    x = conv_layer(p, "final_conv", x, 3).reshape(batch, -1)
    x = linear(p, "final_linear.1", linear(p, "final_linear.0", x, activate=True))
    return x if mapped is None else np.sum(x * mapped, axis=1, keepdims=True) / np.sqrt(mapped.shape[1])


# ----------------------------------------------------------------------------
# State dicts of random values.


def _kernel(line):
    kernel = np.outer(line, line).astype(np.float32)
    return kernel / kernel.sum()


def generator_tensors(channels, style_dim=8, n_mlp=3, blur_kernel=(1, 3, 3, 1), image_channels=3, seed=0):
    """A state dict of a generator. channels: feature maps by resolution from 4."""
    rnd = np.random.RandomState(seed)
    p = {}

    def add(name, *shape, scale=1.0, offset=0.0):
        p[name] = (rnd.randn(*shape) * scale + offset).astype(np.float32)

    def add_modulated(name, in_fmaps, fmaps, size):
        add(f"{name}.weight", 1, fmaps, in_fmaps, size, size)
        add(f"{name}.modulation.weight", in_fmaps, style_dim)
        add(f"{name}.modulation.bias", in_fmaps, scale=0.1, offset=1)

    def add_styled(name, in_fmaps, fmaps, up=False):
        add_modulated(f"{name}.conv", in_fmaps, fmaps, 3)
        if up:
            p[f"{name}.conv.blur.kernel"] = _kernel(blur_kernel) * 4
        add(f"{name}.noise.weight", 1, scale=0.1)
        add(f"{name}.activate.bias", fmaps, scale=0.1)

    def add_rgb(name, in_fmaps, up=True):
        add_modulated(f"{name}.conv", in_fmaps, image_channels, 1)
        add(f"{name}.bias", 1, image_channels, 1, 1, scale=0.1)
        if up:
            p[f"{name}.upsample.kernel"] = _kernel(blur_kernel) * 4

    for idx in range(1, n_mlp + 1):
        add(f"style.{idx}.weight", style_dim, style_dim, scale=100)
        add(f"style.{idx}.bias", style_dim, scale=10)
    add("input.input", 1, channels[4], 4, 4)
    add_styled("conv1", channels[4], channels[4])
    add_rgb("to_rgb1", channels[4], up=False)
    for idx, res in enumerate(sorted(channels)[1:]):
        add_styled(f"convs.{2 * idx}", channels[res // 2], channels[res], up=True)
        add_styled(f"convs.{2 * idx + 1}", channels[res], channels[res])
        add_rgb(f"to_rgbs.{idx}", channels[res])
    for idx in range(2 * len(channels) - 1):
        add(f"noises.noise_{idx}", 1, 1, *[4 << (idx + 1) // 2] * 2)
    return p


def discriminator_tensors(channels, blur_kernel=(1, 3, 3, 1), image_channels=3, seed=1, outputs=1):
    """A state dict of a discriminator. channels: feature maps by resolution from 4. outputs: 1 but for projection."""
    rnd = np.random.RandomState(seed)
    p = {}

    def add_layer(name, in_fmaps, fmaps, size, down=False, activate=True):
        if down:
            p[f"{name}.0.kernel"] = _kernel(blur_kernel)
        p[f"{name}.{int(down)}.weight"] = rnd.randn(fmaps, in_fmaps, size, size).astype(np.float32)
        if activate:
            p[f"{name}.{int(down) + 1}.bias"] = (rnd.randn(fmaps) * 0.1).astype(np.float32)

    def add_linear(name, in_fmaps, fmaps):
        p[f"{name}.weight"] = rnd.randn(fmaps, in_fmaps).astype(np.float32)
        p[f"{name}.bias"] = (rnd.randn(fmaps) * 0.1).astype(np.float32)

    resolutions = sorted(channels, reverse=True)
    add_layer("convs.0", image_channels, channels[resolutions[0]], 1)
    for idx, res in enumerate(resolutions[:-1], start=1):
        add_layer(f"convs.{idx}.conv1", channels[res], channels[res], 3)
        add_layer(f"convs.{idx}.conv2", channels[res], channels[res // 2], 3, down=True)
        add_layer(f"convs.{idx}.skip", channels[res], channels[res // 2], 1, down=True, activate=False)
    add_layer("final_conv", channels[4] + 1, channels[4], 3)
    add_linear("final_linear.0", channels[4] * 16, channels[4])
    add_linear("final_linear.1", channels[4], outputs)
    return p
