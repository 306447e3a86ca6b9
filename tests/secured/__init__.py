"""The tests on a secured broker; a package, so that its fixtures end with its last test."""
