"""The key of a kernel LPM trie, struct bpf_lpm_trie_key_u8: what the tables' images and the runtime, which
adds and removes entries of dynamic sets, both write.

Prefix length in bits as u32 in little endian (the host's order on every target we emit for), then the address
in big endian. Source: include/uapi/linux/bpf.h.
"""

from __future__ import annotations

BPF_MAP_TYPE_LPM_TRIE = 11
BPF_F_NO_PREALLOC = 1


def entry(value: int, prefix_len_bits: int, width_bits: int) -> bytes:
    """The key of one prefix as the kernel takes it; `value` has its host bits clear."""
    return prefix_len_bits.to_bytes(4, "little") + value.to_bytes(width_bits // 8)
