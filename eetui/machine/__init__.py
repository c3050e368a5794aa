"""The Machine screen: processors, memory, GPUs, processes and disks, as they are now."""
