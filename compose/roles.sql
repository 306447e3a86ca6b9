-- One role for each service, which owns its databases and reaches no others. Runs once, when the data folder is new.
-- Backquotes run a command: each password is read from the file that the service gets, too.
\set airflow_password `cut -d : -f 5 /run/secrets/airflow.pgpass`
\set mlflow_password `cut -d : -f 5 /run/secrets/mlflow.pgpass`
CREATE ROLE airflow LOGIN PASSWORD :'airflow_password';
CREATE ROLE mlflow LOGIN PASSWORD :'mlflow_password';
CREATE DATABASE airflow OWNER airflow;
CREATE DATABASE mlflow OWNER mlflow;
CREATE DATABASE mlflow_auth OWNER mlflow;
