"""The Millrace library: everything that does not need Airflow, so that it runs and is tested anywhere."""
