"""The experiment: data, model, exits, protocol, store. Knows no screen and prints nothing."""

import os

# OpenMP reads this when torch is imported. Threads that wait by spinning take the processors that other processes, and
# the threads they wait for, would need: several times slower on a busy machine, and hardly faster on a quiet one.
if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "KMP_BLOCKTIME"}:
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
