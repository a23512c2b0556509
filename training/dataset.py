"""Official names: data sets. They are read in `training.data`."""

from training.data.dataset import SyntheticDataset, TFRecordDataset, load_dataset
