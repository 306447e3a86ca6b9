"""Everything of Millrace that touches Airflow: operators, assets, connections and metrics."""
