"""C code for what takes longest, and how it is compiled and loaded."""
