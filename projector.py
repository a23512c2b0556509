"""Official name: `Projector`, which is made in `projection.projector`."""

from projection.projector import Projector
