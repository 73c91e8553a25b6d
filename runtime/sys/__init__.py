"""The one room with ctypes and mmap: system calls behind typed doors."""
