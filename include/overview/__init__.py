"""What a person sees of all pipelines: read in bounded pieces, kept for a moment, and without Airflow."""
