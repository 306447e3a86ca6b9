"""The page inside Airflow's interface: a FastAPI app that only reads, behind Airflow's login and permissions.

What is decided is decided by DAGs: a form of the page has the browser start a run through Airflow's own API, with the
rights of the person.
"""
