"""Write predictions to Parquet files."""
