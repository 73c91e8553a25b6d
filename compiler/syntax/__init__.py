"""Text to syntax tree. The only user of lark."""
