"""Predictions as Parquet files."""
