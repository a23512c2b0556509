"""What all measures of feature vectors [N, F] ask of them."""

import numpy as np

BLOCK_ROWS = 4096  # rows of features that are converted at a time: 64 MB of 2048 float64 values


def checked_features(name: str, features: np.ndarray) -> np.ndarray:
    """Features [N, F] as float32 or float64, without a copy where they are. Raises ValueError for anything else."""
    features = np.asarray(features)
    if features.dtype not in (np.float32, np.float64):
        features = features.astype(np.float64)
    if features.ndim != 2 or 0 in features.shape:
        raise ValueError(f"{name} must be [N, F], got shape {features.shape}")
    for start in range(0, len(features), BLOCK_ROWS):
        if not np.isfinite(features[start : start + BLOCK_ROWS]).all():
            raise ValueError(f"{name} must be finite")
    return features


def checked_pair(real_features: np.ndarray, fake_features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of features, [N, F] and [M, F]. Raises ValueError where they do not fit together."""
    real = checked_features("real_features", real_features)
    fake = checked_features("fake_features", fake_features)
    if real.shape[1] != fake.shape[1]:
        raise ValueError(f"{real.shape[1]} real features, {fake.shape[1]} generated ones")
    return real, fake
