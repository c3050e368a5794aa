"""Pretrained models as backbones: their layers in blocks, with readouts and exit classifiers of our own."""
