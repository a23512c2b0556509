"""What NVIDIA's PyTorch networks compute, in torch, by the names of their state dicts and their constructors' terms.

Written from the definition of the layers (arXiv:1912.04958, arXiv:2006.06676); `Generator` and `Discriminator` know the
names and shapes of all tensors, so that torch's own strict `load_state_dict` decides what fits them. Nothing is shared
with our layers. Images and feature maps are `[N, C, H, W]`.
"""

import math

import torch
from torch.nn import functional

ACTIVATIONS = {
    "linear": (lambda x: x, 1),
    "relu": (torch.relu, math.sqrt(2)),
    "lrelu": (lambda x: functional.leaky_relu(x, 0.2), math.sqrt(2)),
    "tanh": (torch.tanh, 1),
    "sigmoid": (torch.sigmoid, 1),
    "elu": (functional.elu, 1),
    "selu": (functional.selu, 1),
    "softplus": (functional.softplus, 1),
    "swish": (lambda x: torch.sigmoid(x) * x, math.sqrt(2)),
}


def filter_of(taps):
    """The buffer of a filter: a plane of sum 1, but a line where there are 8 taps or more."""
    taps = torch.as_tensor(taps, dtype=torch.float32)
    taps = taps if len(taps) >= 8 else torch.outer(taps, taps)
    return taps / taps.sum()


def resample(x, taps, up=1, down=1, padding=(0, 0)):
    """Zeros after each pixel, padding, convolution with the filter, every n-th pixel. Enlarging keeps brightness."""
    plane = torch.outer(taps, taps) if taps.ndim == 1 else taps
    n, c, h, w = x.shape
    spread = x.new_zeros(n, c, h * up, w * up)
    spread[:, :, ::up, ::up] = x
    spread = functional.pad(spread, [*padding, *padding])
    kernel = (plane * up**2).flip(0, 1).expand(c, 1, *plane.shape)
    return functional.conv2d(spread, kernel, groups=c)[:, :, ::down, ::down]


def enlarge(x, taps):
    return resample(x, taps, up=2, padding=((len(taps) + 1) // 2, (len(taps) - 2) // 2))


def reduce(x, taps):
    return resample(x, taps, down=2, padding=((len(taps) - 1) // 2, (len(taps) - 2) // 2))


def convolve(x, weight, taps, up=1, down=1, groups=1):
    """A convolution that keeps the size, after enlarging the image, or with every second pixel of the smoothed one."""
    pad = weight.shape[-1] // 2
    if up == 2:  # the kernel of what is enlarged is spread, not slid: it is mirrored
        x = resample(x, taps, up=2, padding=((len(taps) + 1) // 2 + pad, (len(taps) - 2) // 2 + pad))
        return functional.conv2d(x, weight.flip(2, 3), groups=groups)
    if down == 2:
        x = resample(x, taps, padding=((len(taps) - 1) // 2 + pad, (len(taps) - 2) // 2 + pad))
        return functional.conv2d(x, weight, stride=2, groups=groups)
    return functional.conv2d(x, weight, padding=pad, groups=groups)


def activate(x, act, bias=None, gain=1, clamp=None):
    if bias is not None:
        x = x + bias.reshape(1, -1, *[1] * (x.ndim - 2))
    function, own_gain = ACTIVATIONS[act]
    x = function(x) * (own_gain * gain)
    return x if clamp is None else x.clamp(-clamp * gain, clamp * gain)


def normalize(x):
    return x / (x.square().mean(1, keepdim=True) + 1e-8).sqrt()


# ----------------------------------------------------------------------------
# Layers.


class Layer(torch.nn.Module):
    """Tensors by name, and numbers."""

    def __init__(self, shapes, buffers=None, frozen=False, **numbers):
        super().__init__()
        for name, shape in shapes.items():
            if frozen:
                self.register_buffer(name, torch.full(shape, math.nan))
            else:
                self.register_parameter(name, torch.nn.Parameter(torch.full(shape, math.nan)))
        for name, value in (buffers or {}).items():
            self.register_buffer(name, value)
        vars(self).update(numbers)


class Dense(Layer):
    def __init__(self, in_features, features, act="linear", lr=1):
        super().__init__({"weight": [features, in_features], "bias": [features]}, act=act, lr=lr)

    def forward(self, x):
        gain = self.lr / math.sqrt(self.weight.shape[1])
        return activate(x @ (self.weight * gain).T, self.act, self.bias * self.lr)


class Conv(Layer):
    """Of the discriminator, and of residual branches."""

    def __init__(self, in_maps, maps, size, act, taps, bias=True, frozen=False, **numbers):
        shapes = {"weight": [maps, in_maps, size, size]} | ({"bias": [maps]} if bias else {})
        numbers = {"up": 1, "down": 1, "clamp": None, **numbers}
        super().__init__(shapes, {"resample_filter": filter_of(taps)}, frozen, act=act, **numbers)

    def forward(self, x, gain=1):
        weight = self.weight / math.sqrt(self.weight[0].numel())
        x = convolve(x, weight, self.resample_filter, self.up, self.down)
        return activate(x, self.act, getattr(self, "bias", None), gain, self.clamp)


class Styled(Layer):
    """Of the generator: a convolution with a kernel for each sample; `[N]` samples are groups of one."""

    def __init__(self, in_maps, maps, w_dim, size, act="linear", taps=None, noise=None, **numbers):
        shapes = {"weight": [maps, in_maps, size, size], "bias": [maps]}
        buffers = {} if taps is None else {"resample_filter": filter_of(taps)}
        if noise is not None:
            shapes["noise_strength"] = []
            buffers["noise_const"] = torch.full([noise, noise], math.nan)
        super().__init__(shapes, buffers, act=act, **{"up": 1, "clamp": None, **numbers})
        self.affine = Dense(w_dim, in_maps)

    def forward(self, x, w, gain=1):
        n, c, h, width = x.shape
        kernels = self.affine(w).reshape(n, 1, c, 1, 1) * self.weight
        if self.demodulates:
            kernels = kernels / (kernels.square().sum([2, 3, 4], keepdim=True) + 1e-8).sqrt()
        else:
            kernels = kernels / math.sqrt(self.weight[0].numel())
        taps = getattr(self, "resample_filter", None)
        x = convolve(x.reshape(1, n * c, h, width), kernels.flatten(0, 1), taps, self.up, groups=n)
        x = x.reshape(n, -1, *x.shape[2:])
        if hasattr(self, "noise_const"):
            x = x + self.noise_const * self.noise_strength
        return activate(x, self.act, self.bias, gain, self.clamp)


class Mapping(torch.nn.Module):
    def __init__(
        self,
        z_dim,
        c_dim,
        w_dim,
        num_layers=8,
        embed_features=None,
        layer_features=None,
        activation="lrelu",
        lr_multiplier=0.01,
        w_avg_beta=None,
    ):
        super().__init__()
        embedded = (embed_features or w_dim) if c_dim else 0
        if c_dim:
            self.embed = Dense(c_dim, embedded)
        widths = [z_dim + embedded, *[layer_features or w_dim] * (num_layers - 1), w_dim]
        self.layers = [Dense(*widths[idx : idx + 2], activation, lr_multiplier) for idx in range(num_layers)]
        for idx, layer in enumerate(self.layers):
            self.add_module(f"fc{idx}", layer)
        if w_avg_beta is not None:
            self.register_buffer("w_avg", torch.full([w_dim], math.nan))

    def forward(self, z, c):
        parts = [] if z is None else [normalize(z)]
        parts += [normalize(self.embed(c))] if hasattr(self, "embed") else []
        x = torch.cat(parts, 1)
        for layer in self.layers:
            x = layer(x)
        return x


def feature_maps(resolution, channel_base, channel_max):
    return {4 << idx: min(channel_base // (4 << idx), channel_max) for idx in range(int(math.log2(resolution)) - 1)}


class Generator(torch.nn.Module):
    def __init__(self, z_dim, c_dim, w_dim, img_resolution, img_channels, mapping_kwargs, synthesis_kwargs):
        super().__init__()
        self.mapping = Mapping(z_dim, c_dim, w_dim, **{"w_avg_beta": 0.995, **mapping_kwargs})
        self.synthesis = Synthesis(w_dim, img_resolution, img_channels, **synthesis_kwargs)

    def forward(self, z, c=None, truncation_psi=1, truncation_cutoff=None):
        """Images of the noise images of the network."""
        w = self.mapping(z, c)
        average = self.mapping.w_avg
        truncated = average + truncation_psi * (w - average)
        most = 100 if truncation_cutoff is None else truncation_cutoff
        return self.synthesis(lambda layer: truncated if layer < most else w)


class Synthesis(torch.nn.Module):
    def __init__(
        self,
        w_dim,
        resolution,
        channels,
        channel_base=32768,
        channel_max=512,
        num_fp16_res=0,
        conv_clamp=None,
        architecture="skip",
        resample_filter=(1, 3, 3, 1),
        activation="lrelu",
        use_noise=True,
    ):
        super().__init__()
        self.architecture = architecture
        maps = feature_maps(resolution, channel_base, channel_max)
        for res, count in maps.items():
            taps = torch.tensor(resample_filter)
            block = Layer({"const": [count, 4, 4]} if res == 4 else {}, {"resample_filter": filter_of(taps)})
            noise = {"noise": res} if use_noise else {}
            common = {"act": activation, "clamp": conv_clamp, "demodulates": True, **noise}
            if res > 4:
                block.conv0 = Styled(maps[res // 2], count, w_dim, 3, taps=resample_filter, up=2, **common)
                if architecture == "resnet":
                    block.skip = Conv(maps[res // 2], count, 1, "linear", resample_filter, bias=False, up=2)
            block.conv1 = Styled(count, count, w_dim, 3, taps=(1, 3, 3, 1), **common)
            if res == resolution or architecture == "skip":
                block.torgb = Styled(count, channels, w_dim, 1, clamp=conv_clamp, demodulates=False)
            self.add_module(f"b{res}", block)

    def forward(self, w_of_layer):
        """w_of_layer: W `[N, w_dim]` by the index of the layer."""
        image, idx = None, 0
        for name, block in self.named_children():
            if name == "b4":
                x = block.conv1(block.const.expand(len(w_of_layer(0)), -1, -1, -1), w_of_layer(0))
            elif self.architecture == "resnet":
                half = math.sqrt(0.5)
                x = block.conv1(block.conv0(x, w_of_layer(idx)), w_of_layer(idx + 1), half) + block.skip(x, half)
            else:
                x = block.conv1(block.conv0(x, w_of_layer(idx)), w_of_layer(idx + 1))
            idx += 1 if name == "b4" else 2
            image = image if image is None else enlarge(image, block.resample_filter)
            if hasattr(block, "torgb"):  # whose W is that of the next layer
                rgb = block.torgb(x, w_of_layer(idx))
                image = rgb if image is None else image + rgb
        return image


class Discriminator(torch.nn.Module):
    def __init__(
        self,
        c_dim,
        img_resolution,
        img_channels,
        architecture="resnet",
        channel_base=32768,
        channel_max=512,
        num_fp16_res=0,
        conv_clamp=None,
        cmap_dim=None,
        block_kwargs=None,
        mapping_kwargs=None,
        epilogue_kwargs=None,
    ):
        super().__init__()
        self.architecture = architecture
        maps = feature_maps(img_resolution, channel_base, channel_max)
        self.blocks = []
        blocks, last = ({"activation": "lrelu", **(kwargs or {})} for kwargs in (block_kwargs, epilogue_kwargs))
        taps, usual, left = blocks.get("resample_filter", (1, 3, 3, 1)), (1, 3, 3, 1), blocks.get("freeze_layers", 0)
        for res in sorted(maps, reverse=True)[:-1]:
            block, layers = Layer({}, {"resample_filter": filter_of(torch.tensor(taps))}), {}
            count, lower, act = maps[res], maps[res // 2], blocks["activation"]
            if res == img_resolution or architecture == "skip":
                layers["fromrgb"] = [img_channels, count, 1, act, usual], {"clamp": conv_clamp}
            layers["conv0"] = [count, count, 3, act, usual], {"clamp": conv_clamp}
            layers["conv1"] = [count, lower, 3, act, taps], {"clamp": conv_clamp, "down": 2}
            if architecture == "resnet":
                layers["skip"] = [count, lower, 1, "linear", taps], {"bias": False, "down": 2}
            for name, (args, kwargs) in layers.items():
                block.add_module(name, Conv(*args, frozen=left > 0, **kwargs))
                left -= 1
            self.add_module(f"b{res}", block)
            self.blocks.append(block)
        count, act = maps[4], last["activation"]
        self.group_size, self.num_features = last.get("mbstd_group_size", 4), last.get("mbstd_num_channels", 1)
        cmap_dim = (cmap_dim or count) if c_dim else 1
        self.b4 = torch.nn.Module()
        if architecture == "skip":
            self.b4.fromrgb = Conv(img_channels, count, 1, act, usual)
        self.b4.conv = Conv(count + self.num_features, count, 3, act, usual, clamp=conv_clamp)
        self.b4.fc, self.b4.out = Dense(count * 16, count, act), Dense(count, cmap_dim)
        if c_dim:
            self.mapping = Mapping(0, c_dim, cmap_dim, **(mapping_kwargs or {}))

    def forward(self, image, c=None):
        """Scores `[N, 1]` of a minibatch, of which groups compute their standard deviation."""
        x = None
        for block in self.blocks:
            if hasattr(block, "fromrgb"):
                rgb = block.fromrgb(image)
                x = rgb if x is None else x + rgb
            if self.architecture == "resnet":
                half = math.sqrt(0.5)
                x = block.conv1(block.conv0(x), half) + block.skip(x, half)
            else:
                x = block.conv1(block.conv0(x))
            image = reduce(image, block.resample_filter) if self.architecture == "skip" else image
        if self.architecture == "skip":
            x = x + self.b4.fromrgb(image)
        if self.num_features:
            n, channels = x.shape[:2]
            group = n if self.group_size is None else min(self.group_size, n)
            y = x.reshape(group, n // group, self.num_features, channels // self.num_features, -1)
            y = (y.var(0, unbiased=False) + 1e-8).sqrt().mean([2, 3])  # [N / group, features]
            x = torch.cat([x, y.repeat(group, 1)[:, :, None, None].expand(-1, -1, *x.shape[2:])], 1)
        scores = self.b4.out(self.b4.fc(self.b4.conv(x).flatten(1)))
        if not hasattr(self, "mapping"):
            return scores
        mapped = self.mapping(None, c)
        return (scores * mapped).sum(1, keepdim=True) / math.sqrt(mapped.shape[1])


def built(class_name, init_kwargs, tensors):
    """A network with these tensors, by name, which must be exactly what it has; without gradients."""
    net = {"Generator": Generator, "Discriminator": Discriminator}[class_name](**init_kwargs)
    net.load_state_dict(tensors, strict=True)
    return net.eval().requires_grad_(False)
