"""Building blocks shared by compiler and runtime: fields, hooks, actions, tables, layouts."""
