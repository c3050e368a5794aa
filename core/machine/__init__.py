"""The machine: device, threads, clock."""
