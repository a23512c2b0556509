"""The networks that metrics look through: Inception-v3, VGG-16, LPIPS, attribute classifiers."""
