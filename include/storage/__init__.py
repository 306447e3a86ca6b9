"""Files and folders: atomic writes, locks, the state folder, S3 and Google Cloud Storage as fsspec filesystems."""
