"""Rule lists for nftables: match programs to one table that loads, replaces and leaves at one instant."""
