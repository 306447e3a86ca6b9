"""C code in place of slow Python, and how it is compiled and loaded."""
