"""The local stack: the embedded broker, MLflow's database and Airflow, started and stopped together on one machine."""
