"""Records -> content, id, group and label of their samples."""
