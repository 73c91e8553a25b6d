"""Plan to LLVM, ELF and bundle; native simulation. The only user of LLVM besides the emitters."""
