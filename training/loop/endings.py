"""What a training leaves for people at its end, beside its networks."""

import os
from typing import Any

import numpy as np
import tensorflow as tf

from dnnlib import installed
from dnnlib.tflib.devices import hardware
from training.run_folder import model_card


def save_card(run: Any, network: str) -> None:
    """Writes the model card of a network that a run has saved, and its picture; says so if the disk is full.

    run: a `TrainingRun`. network: name of the pickle.
    """
    augment, Gs = run.step.augment, run.networks[2]
    augmentation = None
    if augment is not None and augment.pipe is not None:
        augmentation = augment.describe() + f", at the end p = {float(augment.p):.3f}" * augment.adaptive
    run.report.count()
    try:
        picture = os.path.join(run.run_dir, f"{network.removesuffix('.pkl')}.png")
        run.grid.save_sample(Gs, picture, run.sched.minibatch_gpu)
        model_card.save(
            run.run_dir,
            network,
            options=run.options,
            shape=run.training_set.shape,
            nimg=run.counters.cur_nimg,
            seconds=run.counters.total_sec,
            hardware=hardware(run.devices),
            parameters=sum(int(np.prod(var.shape)) for var in Gs.trainables.values()),
            software=f"{installed.NAME} {installed.version()}, TensorFlow {tf.__version__}",
            data=run.contents and run.contents.facts(),
            label_size=run.training_set.label_size,
            augmentation=augmentation,
        )
    except OSError as error:
        print(f"{error.filename or network}: {error.strerror}; the model card is left out")
