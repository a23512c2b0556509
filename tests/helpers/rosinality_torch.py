"""The networks that a `.pt` of rosinality's layout is for, in PyTorch: modules of its names, to be loaded strictly.

Written from the definition of the layout with PyTorch's own convolutions, many samples as groups of one. It shares
nothing with our layers, and runs with torch alone.
"""

import torch
from torch import nn
from torch.nn import functional

KERNEL = (1, 3, 3, 1)


def feature_maps(multiplier):
    """What the project's classes know."""
    return {4 << n: 512 if n < 4 else (16384 >> (n + 2)) * multiplier for n in range(9)}


def activate(x, bias):
    bias = bias.reshape(1, -1, *[1] * (x.ndim - 2))
    return functional.leaky_relu(x + bias, 0.2) * 2**0.5


def kernel_of(line, gain=1):
    line = torch.tensor(line, dtype=torch.float32)
    square = torch.outer(line, line)
    return square / square.sum() * gain


def convolved(x, kernel, before, after):
    """A filter over each feature map, in the sense of mathematics: it runs backwards."""
    n, c = x.shape[:2]
    x = functional.pad(x.reshape(n * c, 1, *x.shape[2:]), [before, after, before, after])
    x = functional.conv2d(x, kernel.flip(0, 1)[None, None])
    return x.reshape(n, c, *x.shape[2:])


class Linear(nn.Module):
    def __init__(self, inputs, outputs, multiplier=1.0, activation=False):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs))
        self.bias = nn.Parameter(torch.empty(outputs))
        self.multiplier, self.activation = multiplier, activation

    def forward(self, x):
        y = functional.linear(x, self.weight * (self.multiplier / self.weight.shape[1] ** 0.5))
        bias = self.bias * self.multiplier
        return activate(y, bias) if self.activation else y + bias


class Normalize(nn.Module):
    def forward(self, x):
        return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


class Blur(nn.Module):
    """The filter of a convolution that resamples."""

    def __init__(self, line, gain=1):
        super().__init__()
        self.register_buffer("kernel", kernel_of(line, gain))


class Bias(nn.Module):
    def __init__(self, fmaps):
        super().__init__()
        self.bias = nn.Parameter(torch.empty(fmaps))


class Modulated(nn.Module):
    def __init__(self, inputs, outputs, size, style_dim, up=False, demodulates=True, line=KERNEL):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1, outputs, inputs, size, size))
        self.modulation = Linear(style_dim, inputs)
        self.up, self.demodulates = up, demodulates
        if up:
            self.blur = Blur(line, 4)

    def forward(self, x, w):
        n, inputs, height, width = x.shape
        _, outputs, _, size, _ = self.weight.shape
        kernels = self.weight * self.modulation(w).reshape(n, 1, inputs, 1, 1) / (inputs * size * size) ** 0.5
        if self.demodulates:
            kernels = kernels / (kernels.square().sum((2, 3, 4), keepdim=True) + 1e-8).sqrt()
        x = x.reshape(1, n * inputs, height, width)
        if self.up:
            kernels = kernels.transpose(1, 2).reshape(n * inputs, outputs, size, size)
            x = functional.conv_transpose2d(x, kernels, stride=2, groups=n)
            spare = len(self.blur.kernel) - 2 - (size - 1)
            x = x.reshape(n, outputs, *x.shape[2:])
            return convolved(x, self.blur.kernel, (spare + 1) // 2 + 1, spare // 2 + 1)
        x = functional.conv2d(x, kernels.reshape(n * outputs, inputs, size, size), padding=size // 2, groups=n)
        return x.reshape(n, outputs, height, width)


class Noise(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(1))


class Styled(nn.Module):
    def __init__(self, inputs, outputs, style_dim, **kwargs):
        super().__init__()
        self.conv = Modulated(inputs, outputs, 3, style_dim, **kwargs)
        self.noise = Noise()
        self.activate = Bias(outputs)

    def forward(self, x, w, noise):
        return activate(self.conv(x, w) + self.noise.weight * noise, self.activate.bias)


class ToRGB(nn.Module):
    def __init__(self, inputs, colours, style_dim, line=None):
        super().__init__()
        self.conv = Modulated(inputs, colours, 1, style_dim, demodulates=False)
        self.bias = nn.Parameter(torch.empty(1, colours, 1, 1))
        if line is not None:
            self.upsample = Blur(line, 4)

    def forward(self, x, w, image):
        y = self.conv(x, w) + self.bias
        return y if image is None else y + enlarged(image, self.upsample.kernel)


def enlarged(image, kernel):
    """Twice the size: each pixel spreads the filter."""
    n, c, height, width = image.shape
    taps = len(kernel)
    spread = functional.conv_transpose2d(image.reshape(n * c, 1, height, width), kernel[None, None], stride=2)
    first = taps - 1 - ((taps - 1) // 2 + 1)
    missing = max(first + 2 * max(height, width) - spread.shape[-1], 0)
    spread = functional.pad(spread, [0, missing, 0, missing])
    return spread[:, :, first : first + 2 * height, first : first + 2 * width].reshape(n, c, 2 * height, 2 * width)


class Constant(nn.Module):
    def __init__(self, fmaps):
        super().__init__()
        self.input = nn.Parameter(torch.empty(1, fmaps, 4, 4))


class Generator(nn.Module):
    """Called as the project's class; `channels` and `colours` are what is to be changed there for other networks."""

    def __init__(
        self, size, style_dim, n_mlp, channel_multiplier=2, blur_kernel=KERNEL, lr_mlp=0.01, channels=None, colours=3
    ):
        super().__init__()
        fmaps = feature_maps(channel_multiplier) if channels is None else channels
        layers = [Linear(style_dim, style_dim, lr_mlp, activation=True) for _ in range(n_mlp)]
        self.style = nn.Sequential(Normalize(), *layers)
        self.input = Constant(fmaps[4])
        self.conv1 = Styled(fmaps[4], fmaps[4], style_dim)
        self.to_rgb1 = ToRGB(fmaps[4], colours, style_dim)
        self.convs, self.to_rgbs, self.noises = nn.ModuleList(), nn.ModuleList(), nn.Module()
        self.noises.register_buffer("noise_0", torch.empty(1, 1, 4, 4))
        res = 8
        while res <= size:
            self.convs.append(Styled(fmaps[res // 2], fmaps[res], style_dim, up=True, line=blur_kernel))
            self.convs.append(Styled(fmaps[res], fmaps[res], style_dim))
            self.to_rgbs.append(ToRGB(fmaps[res], colours, style_dim, line=blur_kernel))
            for idx in (len(self.convs) - 1, len(self.convs)):
                self.noises.register_buffer(f"noise_{idx}", torch.empty(1, 1, res, res))
            res *= 2

    def forward(self, w):
        """W `[N, style_dim]`, or `[N, layers, style_dim]`, to images `[N, C, H, W]`, with the noise of the file."""
        of_layer = w.unbind(1) if w.ndim == 3 else [w] * (2 * len(self.to_rgbs) + 2)
        noise = [getattr(self.noises, f"noise_{idx}") for idx in range(2 * len(self.to_rgbs) + 1)]
        x = self.input.input.expand(len(w), -1, -1, -1)
        x = self.conv1(x, of_layer[0], noise[0])
        image = self.to_rgb1(x, of_layer[1], None)
        for idx, to_rgb in enumerate(self.to_rgbs):
            first = 2 * idx + 1
            x = self.convs[2 * idx](x, of_layer[first], noise[first])
            x = self.convs[2 * idx + 1](x, of_layer[first + 1], noise[first + 1])
            image = to_rgb(x, of_layer[first + 2], image)
        return image


class Conv(nn.Module):
    def __init__(self, inputs, outputs, size):
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs, size, size))

    def forward(self, x, **kwargs):
        return functional.conv2d(x, self.weight / self.weight[0].numel() ** 0.5, **kwargs)


class Layer(nn.Sequential):
    """(The filter), the convolution, (the bias)."""

    def __init__(self, inputs, outputs, size, down=False, activation=True, line=KERNEL):
        parts = [Blur(line)] if down else []
        parts.append(Conv(inputs, outputs, size))
        super().__init__(*parts, *([Bias(outputs)] if activation else []))
        self.down, self.activation, self.size = down, activation, size

    def forward(self, x):
        if self.down:
            spare = len(self[0].kernel) - 2 + self.size - 1
            x = self[1](convolved(x, self[0].kernel, (spare + 1) // 2, spare // 2), stride=2)
        else:
            x = self[0](x, padding=self.size // 2)
        return activate(x, self[-1].bias) if self.activation else x


class Block(nn.Module):
    def __init__(self, inputs, outputs, line):
        super().__init__()
        self.conv1 = Layer(inputs, inputs, 3)
        self.conv2 = Layer(inputs, outputs, 3, down=True, line=line)
        self.skip = Layer(inputs, outputs, 1, down=True, activation=False, line=line)

    def forward(self, x):
        return (self.conv2(self.conv1(x)) + self.skip(x)) / 2**0.5


class Discriminator(nn.Module):
    """Called as the project's class; the last arguments are what is to be changed there for other networks."""

    def __init__(
        self,
        size,
        channel_multiplier=2,
        blur_kernel=KERNEL,
        channels=None,
        colours=3,
        stddev_group=4,
        stddev_feat=1,
        last=None,
    ):
        super().__init__()
        fmaps = feature_maps(channel_multiplier) if channels is None else channels
        last = fmaps[4] if last is None else last
        self.stddev_group, self.stddev_feat = stddev_group, stddev_feat
        layers = [Layer(colours, fmaps[size], 1)]
        while size > 4:
            layers.append(Block(fmaps[size], fmaps[size // 2], blur_kernel))
            size //= 2
        self.convs = nn.Sequential(*layers)
        self.final_conv = Layer(fmaps[4] + stddev_feat, fmaps[4], 3)
        self.final_linear = nn.Sequential(Linear(fmaps[4] * 16, last, activation=True), Linear(last, 1))

    def forward(self, images):
        """Images `[N, C, H, W]` to scores `[N, 1]`."""
        x = self.convs(images)
        n, c, height, width = x.shape
        group = min(n, self.stddev_group)
        y = x.reshape(group, n // group, self.stddev_feat, c // self.stddev_feat, height, width)
        y = (y - y.mean(0)).square().mean(0)  # [N / group, features, C / features, H, W]
        y = (y + 1e-8).sqrt().mean((2, 3, 4))
        y = y.repeat(group, 1)[:, :, None, None].expand(-1, -1, height, width)
        return self.final_linear(self.final_conv(torch.cat([x, y], 1)).flatten(1))
