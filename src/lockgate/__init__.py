"""lockgate: a compiler from a declarative network-policy language to eBPF.

The rooms: `grammar` (the language's grammar files), `stdlib_bpf` (the building blocks both halves share),
`compiler` (policy text to bundle, pure) and `runtime` (bundle to kernel). `compiler` and `runtime` never
import each other; they meet in the bundle file.
"""

__version__ = "0.1.0"
