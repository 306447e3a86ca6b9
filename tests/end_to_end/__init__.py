"""The tests of the whole product in a real Airflow; a package, so that its fixtures end with its last test."""
