"""bpf(2), descriptors and namespaces: the only room with ctypes."""
