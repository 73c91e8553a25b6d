"""LLVM emission of the building blocks. The only part of stdlib_bpf that knows LLVM."""
