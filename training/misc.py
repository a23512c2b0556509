"""Reading and writing of network pickles under their official names."""

from typing import Any

from dnnlib.tflib import network_files


def load_pkl(file_or_url: str) -> Any:
    """The networks of a pickle: of a path, a URL or a `gdrive:` name. Nothing in it is executed. Raises UserError."""
    import pretrained_networks

    return pretrained_networks.read(file_or_url)


def save_pkl(obj: Any, filename: str) -> None:
    """Writes a network, or a tuple of networks, in the official format. The file appears whole or not at all."""
    network_files.save_pkl(obj, filename)
