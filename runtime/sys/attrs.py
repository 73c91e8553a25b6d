"""Layouts of the structures that bpf(2) takes and fills, as include/uapi/linux/bpf.h has them (`union
bpf_attr`, `struct bpf_link_info`, `struct bpf_prog_info`), and the enum values used here.

Knows numbers only. Fields behind the last one named are left out: the kernel reads them as zero.
All numbers in host byte order (every target is little endian).
"""

from __future__ import annotations

from enum import IntEnum

from lockgate.stdlib_bpf.layout import Member, Struct, packed

SOURCE = "include/uapi/linux/bpf.h"


class Command(IntEnum):
    """enum bpf_cmd."""

    MAP_CREATE = 0
    MAP_LOOKUP_ELEM = 1
    MAP_UPDATE_ELEM = 2
    MAP_DELETE_ELEM = 3
    MAP_GET_NEXT_KEY = 4
    PROG_LOAD = 5
    OBJ_PIN = 6
    OBJ_GET = 7
    PROG_TEST_RUN = 10
    OBJ_GET_INFO_BY_FD = 15
    BTF_LOAD = 18
    MAP_FREEZE = 22
    MAP_LOOKUP_BATCH = 24
    MAP_UPDATE_BATCH = 26
    LINK_CREATE = 28
    LINK_UPDATE = 29
    ENABLE_STATS = 32
    LINK_DETACH = 34


MAP_TYPE_ARRAY, MAP_TYPE_PERCPU_ARRAY, MAP_TYPE_LPM_TRIE, MAP_TYPE_RINGBUF = 2, 6, 11, 27
MAP_TYPE_HASH, MAP_TYPE_PROG_ARRAY, MAP_TYPE_ARRAY_OF_MAPS = 1, 3, 12
F_RDONLY_PROG, F_MMAPABLE = 1 << 7, 1 << 10
F_REPLACE = 4  # BPF_F_REPLACE of LINK_UPDATE: only if the old program is the one named
F_TEST_XDP_LIVE_FRAMES = 2  # of PROG_TEST_RUN
XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE = 2, 4  # include/uapi/linux/if_link.h
PSEUDO_MAP_FD, PSEUDO_MAP_VALUE, PSEUDO_CALL = 1, 2, 1
TCX_EGRESS = 47  # enum bpf_attach_type
LINK_TYPE_CGROUP, LINK_TYPE_XDP, LINK_TYPE_TCX = 3, 6, 11
OBJ_NAME_LEN = 16  # bytes, with the closing zero

MAP_CREATE: Struct = packed(
    "MAP_CREATE",
    ("map_type", 4),
    ("key_size", 4),
    ("value_size", 4),
    ("max_entries", 4),
    ("map_flags", 4),
    ("inner_map_fd", 4),
    ("numa_node", 4),
    ("map_name", 1, OBJ_NAME_LEN),
    ("map_ifindex", 4),
    ("btf_fd", 4),
    ("btf_key_type_id", 4),
    ("btf_value_type_id", 4),
    source=SOURCE,
)

MAP_ELEM: Struct = packed(
    "MAP_ELEM", ("map_fd", 4), ("pad", 4), ("key", 8), ("value", 8), ("flags", 8), source=SOURCE
)

MAP_BATCH: Struct = packed(
    "MAP_BATCH",
    ("in_batch", 8),
    ("out_batch", 8),
    ("keys", 8),
    ("values", 8),
    ("count", 4),
    ("map_fd", 4),
    ("elem_flags", 8),
    ("flags", 8),
    source=SOURCE,
)

PROG_LOAD: Struct = packed(
    "PROG_LOAD",
    ("prog_type", 4),
    ("insn_cnt", 4),
    ("insns", 8),
    ("license", 8),
    ("log_level", 4),
    ("log_size", 4),
    ("log_buf", 8),
    ("kern_version", 4),
    ("prog_flags", 4),
    ("prog_name", 1, OBJ_NAME_LEN),
    ("prog_ifindex", 4),
    ("expected_attach_type", 4),
    ("prog_btf_fd", 4),
    ("func_info_rec_size", 4),
    ("func_info", 8),
    ("func_info_cnt", 4),
    ("line_info_rec_size", 4),
    ("line_info", 8),
    ("line_info_cnt", 4),
    ("attach_btf_id", 4),
    source=SOURCE,
)

OBJ: Struct = packed("OBJ", ("pathname", 8), ("bpf_fd", 4), ("file_flags", 4), source=SOURCE)

TEST_RUN: Struct = packed(
    "TEST_RUN",
    ("prog_fd", 4),
    ("retval", 4),
    ("data_size_in", 4),
    ("data_size_out", 4),
    ("data_in", 8),
    ("data_out", 8),
    ("repeat", 4),
    ("duration", 4),  # ns per run, written by the kernel
    ("ctx_size_in", 4),
    ("ctx_size_out", 4),
    ("ctx_in", 8),
    ("ctx_out", 8),
    ("flags", 4),
    ("cpu", 4),
    ("batch_size", 4),
    ("pad", 4),
    source=SOURCE,
)

ENABLE_STATS: Struct = packed("ENABLE_STATS", ("type", 4), source=SOURCE)

GET_INFO: Struct = packed("GET_INFO", ("bpf_fd", 4), ("info_len", 4), ("info", 8), source=SOURCE)

BTF_LOAD: Struct = packed(
    "BTF_LOAD",
    ("btf", 8),
    ("btf_log_buf", 8),
    ("btf_size", 4),
    ("btf_log_size", 4),
    ("btf_log_level", 4),
    ("pad", 4),
    source=SOURCE,
)

FREEZE: Struct = packed("FREEZE", ("map_fd", 4), source=SOURCE)

LINK_CREATE: Struct = packed(
    "LINK_CREATE",
    ("prog_fd", 4),
    ("target", 4),  # target_fd of a cgroup, or target_ifindex
    ("attach_type", 4),
    ("flags", 4),
    source=SOURCE,
)

LINK_UPDATE: Struct = packed(
    "LINK_UPDATE", ("link_fd", 4), ("new_prog_fd", 4), ("flags", 4), ("old_prog_fd", 4), source=SOURCE
)

LINK_DETACH: Struct = packed("LINK_DETACH", ("link_fd", 4), source=SOURCE)

# struct bpf_map_info: the fields that say of what shape a map is.
MAP_INFO: Struct = packed(
    "bpf_map_info",
    ("type", 4),
    ("id", 4),
    ("key_size", 4),
    ("value_size", 4),
    ("max_entries", 4),
    ("map_flags", 4),
    source=SOURCE,
)

# struct bpf_prog_info: its beginning.
PROG_INFO: Struct = packed(
    "bpf_prog_info",
    ("type", 4),
    ("id", 4),
    ("tag", 1, 8),
    ("jited_prog_len", 4),
    ("xlated_prog_len", 4),
    source=SOURCE,
)

# struct bpf_prog_info: how long all runs took, and how many there were, while statistics are on.
PROG_STATS = Struct(
    "bpf_prog_info", 208, (Member("run_time_ns", 192, 8), Member("run_cnt", 200, 8)), source=SOURCE
)

# struct bpf_link_info: the union begins at byte 16, since some of its members are 8 bytes wide. `target`:
# ifindex of an XDP or TCX link (0 when the device is gone or in another namespace), cgroup_id in full width.
LINK_INFO: Struct = packed(
    "bpf_link_info",
    ("type", 4),
    ("id", 4),
    ("prog_id", 4),
    ("pad", 4),
    ("target", 4),
    ("target_high", 4),
    source=SOURCE,
)
