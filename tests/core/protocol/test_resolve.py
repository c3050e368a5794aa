"""What `auto` stands for on this machine."""

import torch

from core.protocol.resolve import OWN_THREADS, resolve
from tests.core.training import MakeConfig


def test_auto_threads_are_torch_s_own_whatever_somebody_set(tiny_config: MakeConfig) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(OWN_THREADS + 1)
        assert resolve(tiny_config(threads=0)).machine.threads == OWN_THREADS
        assert resolve(tiny_config(threads=3)).machine.threads == 3
    finally:
        torch.set_num_threads(before)
