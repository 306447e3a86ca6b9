"""Model versions, aliases and promotion, over MLflow."""
