"""Connect-time balancing: what a service is, and which backend a client of it gets.

Usable without LLVM and numpy: the runtime builds tables, too. Maps are in `stdlib_bpf.state.balance`,
generated code in `stdlib_bpf.emit.balance`.
"""
