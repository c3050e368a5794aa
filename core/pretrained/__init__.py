"""Pretrained models as transformers stores them: where one is, what it holds, its content's hash."""
